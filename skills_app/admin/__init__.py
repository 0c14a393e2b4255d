"""The admin of skills: uploaded after a preview; every revision is kept."""

from skills_app.admin import skills

__all__ = ["skills"]
