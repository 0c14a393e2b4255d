"""The admin of what is durable: every row can be read, and none can be edited here.

Tasks can be cancelled and retried: see `actions`.
"""

from tasks_app.admin import rows, tasks, workers

__all__ = ["rows", "tasks", "workers"]
