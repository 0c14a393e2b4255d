from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    name = "caylex_project.integrations"
    default_auto_field = "django.db.models.BigAutoField"
