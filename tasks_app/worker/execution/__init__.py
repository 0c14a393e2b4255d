"""Execution: one active task from its claim to its release.

Imports `journal`, `claiming` and what is below; not `maintenance`.
"""
