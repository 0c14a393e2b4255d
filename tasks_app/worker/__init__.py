"""The engine that runs tasks.

Imports `operations` and what is below; not `api`, `admin` or `monitoring`.
"""
