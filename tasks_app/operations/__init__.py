"""Every verb of tasks, called alike by the API, the admin, commands and workers.

Imports `webhooks`, `notifications`, `queries` and `models`.
"""
