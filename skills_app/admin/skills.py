"""The pages of skills, their revisions and their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.http import content_disposition_header

from caylex_project.accounts.admin.base import ReadOnlyAdmin
from caylex_project.accounts.admin.row_actions import (
    ActionResult,
    RowAction,
    RowActionRejected,
    RowActionsAdmin,
)
from skills_app.admin.upload import UploadAdmin, contents_of, project_of
from skills_app.models import Skill, SkillFile, SkillRevision
from skills_app.operations import use_revision
from skills_app.parsing.skill_md import ParsedSkill
from skills_app.revision_diff import Budget, PartDiff, changes, skill_of

MAX_REVISIONS = 20  # on a skill's page, each compared with the one before it


@admin.register(Skill)
class SkillAdmin(UploadAdmin):
    """Skills: uploaded after a preview, never edited in place."""

    project_paths = ("project", "navigator__project")
    list_display = ("slug", "project", "navigator", "current", "created_at")
    list_select_related = ("project__tenant", "navigator", "current")
    search_fields = ("slug",)
    fields = ("id", "project", "navigator", "slug", "current", "created_at")
    change_form_template = "admin/skills_app/skill.html"

    def extra_context_for(self, row: Skill) -> dict[str, Any]:
        """The skill as it is now, and its revisions."""
        if row.current is None:
            return {}
        return {"revisions": _told(row), **contents_of(skill_of(row.current), revision=row.current)}


def _told(skill: Skill) -> list[dict[str, Any]]:
    """Return the newest revisions, each with what it changed as far as one page may cost."""
    found = skill.revisions.select_related("skill").order_by("-number")
    newest = list(found[: MAX_REVISIONS + 1])
    budget, told = Budget(), list[dict[str, Any]]()
    after = skill_of(newest[0]) if newest else None
    for revision, older in zip(newest, [*newest[1:], None], strict=True):
        before = skill_of(older) if older is not None and budget.left else None
        told.append(
            {
                "row": revision,
                "changes": _since(before, after, budget),
                "not_compared": older is not None and before is None,
                "is_current": revision.pk == skill.current_id,
            }
        )
        after = before
    return told[:MAX_REVISIONS]


def _since(before: ParsedSkill | None, after: ParsedSkill | None, budget: Budget) -> list[PartDiff]:
    if before is None or after is None:
        return []
    return changes(before=before, after=after, budget=budget)


def _use(revision: SkillRevision, answers: Mapping[str, Any]) -> ActionResult:
    if not use_revision(revision=revision):
        raise RowActionRejected("It is the current one already.")
    return ActionResult(
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

    def extra_context_for(self, row: SkillRevision) -> dict[str, Any]:
        """What the revision says, and what it changed."""
        before = row.skill.revisions.filter(number__lt=row.number).order_by("-number").first()
        skill = skill_of(row)
        since = _since(skill_of(before) if before else None, skill, Budget())
        return {**contents_of(skill, revision=row), "before": before, "changes": since}

    def audit_target(self, row: SkillRevision) -> tuple[Any, Any]:
        """The skill, and its project."""
        return row.skill, project_of(row.skill)


@admin.register(SkillFile)
class SkillFileAdmin(ReadOnlyAdmin):
    """The files of the revisions."""

    project_paths = ("revision__skill__project", "revision__skill__navigator__project")
    list_display = ("path", "revision", "kind")
    search_fields = ("path",)
    fields = ("revision", "path", "kind", "text")
    readonly_fields = ("kind",)
    change_form_template = "admin/skills_app/file.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the bytes: they are for the download alone."""
        rows = super().get_queryset(request).select_related("revision", "blob")
        return rows.defer("blob__data")

    @admin.display(description="Kind")
    def kind(self, row: SkillFile) -> str:
        """A text, or the media type and the size of what is kept aside."""
        return "text" if row.blob is None else f"{row.media_type}, {row.blob.size:,} bytes"

    def get_urls(self) -> list[URLPattern]:
        """Add the download."""
        page = self.admin_site.admin_view(self.download)
        name = "skills_app_skillfile_download"
        return [path("<path:pk>/download/", page, name=name), *super().get_urls()]

    def download(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Send the file as an attachment. Raises Http404, PermissionDenied."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, pk)
        if row is None:
            raise Http404
        assert isinstance(row, SkillFile)
        name = content_disposition_header(True, row.path.rpartition("/")[2]) or ""
        if row.blob is None:
            answer = HttpResponse(row.text, content_type="text/plain; charset=utf-8")
        else:
            answer = HttpResponse(bytes(row.blob.data), content_type="application/octet-stream")
        answer["Content-Disposition"] = name
        return answer
