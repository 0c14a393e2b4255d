from django.apps import AppConfig


class SkillsConfig(AppConfig):
    name = "skills_app"
    default_auto_field = "django.db.models.BigAutoField"
