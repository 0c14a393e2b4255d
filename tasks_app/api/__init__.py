"""The HTTP API of tasks.

Imports `operations`, `queries` and what is below; not `admin`, `monitoring` or `worker`.
"""
