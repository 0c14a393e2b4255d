"""The admin of what is durable: every row can be read, and none can be edited here.

What staff can do with tasks and messages: see `actions` and `bulk`.
"""

from tasks_app.admin import bulk_operations, scopes, steps, webhooks, workers
from tasks_app.admin.tasks import admin

__all__ = ["admin", "bulk_operations", "scopes", "steps", "webhooks", "workers"]
