"""Agent tasks: rows, operations, the HTTP API, the admin, monitoring and the workers.

Imports the apps below; its packages are layers, listed in `pyproject.toml`.
"""
