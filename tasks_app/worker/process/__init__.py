"""Worker processes: supervisor, django-q2 broker, identity and lease.

Imports `worker.database`; nothing else of `worker`.
"""
