"""The pages of skills, their revisions and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin

from caylex_project.accounts.readonly import ReadOnlyAdmin
from caylex_project.accounts.row_actions import NotDone, Outcome, RowAction, RowActionsAdmin
from skills_app.admin.upload import UploadAdmin, project_of
from skills_app.changes import Change, changes, skill_of
from skills_app.models import Skill, SkillFile, SkillRevision
from skills_app.operations import use_revision

MOST_REVISIONS = 20  # on a skill's page, each compared with the one before it


@admin.register(Skill)
class SkillAdmin(UploadAdmin):
    """Skills: uploaded after a preview, never edited in place."""

    project_paths = ("project", "navigator__project")
    list_display = ("slug", "project", "navigator", "current", "created_at")
    list_select_related = ("project__tenant", "navigator", "current")
    search_fields = ("slug",)
    fields = ("id", "project", "navigator", "slug", "current", "created_at")
    change_form_template = "admin/skills_app/skill.html"

    def shown_of(self, row: Skill) -> dict[str, Any]:
        """The skill as it is now, and its revisions."""
        if row.current is None:
            return {}
        return {"skill": skill_of(row.current), "revisions": _told(row)}


def _told(skill: Skill) -> list[dict[str, Any]]:
    """Return the newest revisions, each with what it changed."""
    found = skill.revisions.select_related("skill").prefetch_related("files")
    newest = list(found.order_by("-number")[: MOST_REVISIONS + 1])
    older: Sequence[SkillRevision | None] = [*newest[1:], None]
    return [
        {"row": each, "changes": _since(before, each), "is_current": each.pk == skill.current_id}
        for each, before in list(zip(newest, older, strict=True))[:MOST_REVISIONS]
    ]


def _since(before: SkillRevision | None, revision: SkillRevision) -> list[Change]:
    return [] if before is None else changes(before=skill_of(before), after=skill_of(revision))


def _use(revision: SkillRevision, answers: Mapping[str, Any]) -> Outcome:
    if not use_revision(revision=revision):
        raise NotDone("It is the current one already.")
    return Outcome(
        sentence=f"{revision} is the current revision: the next task uses it.",
        details={"revision": revision.number},
    )


USE = RowAction(
    name="use",
    verb="Use this revision",
    question="It becomes the current one: tasks that start from now on use it. Those that run keep "
    "the revision that they started with.",
    applies=lambda revision: revision.skill.current_id != revision.pk,
    perform=_use,
)


@admin.register(SkillRevision)
class SkillRevisionAdmin(RowActionsAdmin):
    """Each version of a skill."""

    project_paths = ("skill__project", "skill__navigator__project")
    list_display = ("skill", "number", "name", "created_at")
    list_select_related = ("skill",)
    search_fields = ("name", "skill__slug")
    fields = ("id", "skill", "number", "name", "description", "created_at")
    row_actions = (USE,)
    change_form_template = "admin/skills_app/revision.html"

    def shown_of(self, row: SkillRevision) -> dict[str, Any]:
        """What the revision says, and what it changed."""
        before = row.skill.revisions.filter(number__lt=row.number).order_by("-number").first()
        return {"skill": skill_of(row), "before": before, "changes": _since(before, row)}

    def audited(self, row: SkillRevision) -> tuple[Any, Any]:
        """The skill, and its project."""
        return row.skill, project_of(row.skill)


@admin.register(SkillFile)
class SkillFileAdmin(ReadOnlyAdmin):
    """The files of the revisions."""

    project_paths = ("revision__skill__project", "revision__skill__navigator__project")
    list_display = ("path", "revision")
    list_select_related = ("revision",)
    search_fields = ("path",)
    fields = ("revision", "path", "text")
