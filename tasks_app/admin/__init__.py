"""The admin of tasks, webhooks and workers: rows are read-only, actions are audit_target.

Imports `operations`, `queries` and what is below; not `api`, `monitoring` or `worker`.
"""

from tasks_app.admin import bulk_operations, scopes, steps, webhooks, workers
from tasks_app.admin.tasks import admin

__all__ = ["admin", "bulk_operations", "scopes", "steps", "webhooks", "workers"]
