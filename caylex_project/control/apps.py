from django.apps import AppConfig


class ControlConfig(AppConfig):
    name = "caylex_project.control"
    default_auto_field = "django.db.models.BigAutoField"
