"""The admin of skills: uploaded after a preview; every revision is kept.

Imports `skills_app` and `accounts`.
"""

from skills_app.admin import skills

__all__ = ["skills"]
