"""The admin of what is durable: every row can be read, and none can be edited here.

What staff can do with tasks and messages: see `actions` and `bulk`.
"""

from tasks_app.admin import bulk, rows, scopes, tasks, webhooks, workers

__all__ = ["bulk", "rows", "scopes", "tasks", "webhooks", "workers"]
