from django.apps import AppConfig
from django.core import checks

from tasks_app.monitoring.system_checks import TAG, check_workers


class TasksConfig(AppConfig):
    name = "tasks_app"
    verbose_name = "Agent tasks"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        checks.register(check_workers, TAG)
