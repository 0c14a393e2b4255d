"""The admin of skills: to read."""

from __future__ import annotations

from django.contrib import admin

from caylex_project.accounts.readonly import ReadOnlyAdmin
from skills_app.models import Skill, SkillFile, SkillRevision


@admin.register(Skill)
class SkillAdmin(ReadOnlyAdmin):
    """Skills."""

    project_paths = ("project", "navigator__project")
    list_display = ("slug", "project", "navigator", "current", "created_at")
    list_select_related = ("project__tenant", "navigator", "current")
    search_fields = ("slug",)
    fields = ("id", "project", "navigator", "slug", "current", "created_at")


@admin.register(SkillRevision)
class SkillRevisionAdmin(ReadOnlyAdmin):
    """Each version of a skill."""

    project_paths = ("skill__project", "skill__navigator__project")
    list_display = ("skill", "number", "name", "created_at")
    list_select_related = ("skill",)
    search_fields = ("name", "skill__slug")
    fields = ("id", "skill", "number", "name", "description", "body", "frontmatter", "created_at")


@admin.register(SkillFile)
class SkillFileAdmin(ReadOnlyAdmin):
    """The files of the revisions."""

    project_paths = ("revision__skill__project", "revision__skill__navigator__project")
    list_display = ("path", "revision")
    list_select_related = ("revision",)
    search_fields = ("path",)
    fields = ("revision", "path", "text")
