"""The control plane: everything that sets the service up, above all other apps.

Imports any app; no app imports it.
"""
