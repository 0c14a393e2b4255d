"""Provisioning: a YAML file that says what there is, and the operations that make it so.

Imports any app.
"""
