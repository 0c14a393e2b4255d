"""Uploading a skill: a page that asks for the file, one that shows what is in it, then the POST."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from caylex_project.accounts.admin.row_actions import RowActionsAdmin
from caylex_project.accounts.audit import record
from caylex_project.accounts.models import Navigator, Project
from caylex_project.accounts.site.query_params import check_form
from caylex_project.accounts.staff_scope import visible_projects
from caylex_project.db.clock import clock
from skills_app.kept_uploads import drop_upload, keep_upload, kept_upload
from skills_app.models import Skill, SkillFile, SkillRevision
from skills_app.operations import store_skill
from skills_app.parsing.files import MAX_FILE, MAX_TOTAL
from skills_app.parsing.skill_md import ParsedSkill, SkillRefused
from skills_app.parsing.upload import MAX_UPLOAD, load_upload
from skills_app.revision_diff import Budget, PartDiff, changes, skill_of


class UploadForm(forms.Form):
    """A skill's file and its owner. On the page that asks, `kept` is the id of the kept upload.

    It is parsed again like any other upload.
    """

    project = forms.ModelChoiceField(Project.objects.none(), required=False)
    navigator = forms.ModelChoiceField(
        Navigator.objects.none(),
        required=False,
        help_text="In place of a project: the navigator's own skill.",
    )
    file = forms.FileField(
        required=False,
        allow_empty_file=True,
        label="SKILL.md or ZIP",
        help_text="A ZIP has its SKILL.md at the root. "
        f"At most {MAX_FILE:,} bytes a file, and {MAX_TOTAL:,} together.",
    )
    kept = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        visible = visible_projects(user)
        projects = Project.objects.select_related("tenant").order_by("tenant__name", "name")
        navigators = Navigator.objects.order_by("project__name", "name")
        if visible is not None:
            projects = projects.filter(pk__in=visible)
            navigators = navigators.filter(project__in=visible)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]
        self.fields["navigator"].queryset = navigators  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Read the skill."""
        given = dict(self.cleaned_data)
        if not self.errors and bool(given["project"]) == bool(given["navigator"]):
            self.add_error("project", "Choose a project or a navigator: a skill has one owner.")
        try:
            given["data"] = self._data(given)
            given["skill"] = load_upload(given["data"])
        except SkillRefused as refused:
            self.add_error("file", str(refused))
        return given

    def _data(self, given: dict[str, Any]) -> bytes:
        file = given.get("file")
        if file is not None:
            return bytes(file.read(MAX_UPLOAD + 1))
        if not given.get("kept"):
            raise SkillRefused("Choose a file.")
        data = kept_upload(user_id=self.user.pk, upload_id=given["kept"], now=clock.now())
        if data is None:
            raise SkillRefused("The uploaded file is no longer available; choose it again.")
        return data


class UploadAdmin(RowActionsAdmin):
    """Skills that are added by an upload; one of a slug that is there makes its next revision."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to add one."""
        return self.permitted(request, "add")

    def audit_target(self, row: Skill) -> tuple[Any, Any]:
        """The skill, and its project."""
        return row, project_of(row)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Ask for the file, show what is in it, store it.

        Raises ParameterRefused, PermissionDenied.
        """
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            blank = UploadForm(user=request.user)
            check_form(request.GET, {name: blank.fields[name] for name in ("project", "navigator")})
            return self._show(request, UploadForm(initial=request.GET.dict(), user=request.user))
        form = UploadForm(request.POST, request.FILES, user=request.user)
        if not form.is_valid():
            return self._show(request, form)
        if "store" not in request.POST or form.cleaned_data["file"] is not None:
            return self._preview(request, form)
        return self._store(request, form)

    def _show(self, request: HttpRequest, form: UploadForm, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Upload a skill",
            "opts": self.opts,
            "form": form,
            **more,
        }
        return TemplateResponse(request, "admin/skills_app/upload.html", context)

    def _preview(self, request: HttpRequest, form: UploadForm) -> HttpResponse:
        given = form.cleaned_data
        skill: ParsedSkill = given["skill"]
        there = Skill.objects.select_related("current__skill").filter(
            project=given["project"], navigator=given["navigator"], slug=skill.slug
        )
        before = next((each.current for each in there if each.current), None)
        asked = {
            **{name: getattr(given[name], "pk", None) for name in ("project", "navigator")},
            "kept": keep_upload(user_id=request.user.pk, data=given["data"], now=clock.now()),
        }
        return self._show(
            request,
            UploadForm(initial=asked, user=request.user),
            title=f"Store {skill.slug}?",
            **contents_of(skill),
            owner=given["project"] or given["navigator"],
            before=before,
            changes=_since(before, skill),
            unchanged=before is not None and before.digest == skill.digest,
        )

    def _store(self, request: HttpRequest, form: UploadForm) -> HttpResponse:
        given = form.cleaned_data
        with transaction.atomic():
            revision = store_skill(
                parsed=given["skill"], project=given["project"], navigator=given["navigator"]
            )
            record(
                actor=request.user,
                action="upload",
                on=revision.skill,
                project_id=project_of(revision.skill),
                details={"revision": revision.number},
                now=clock.now(),
            )
            drop_upload(user_id=request.user.pk)
        sentence = f"{revision} is the current revision: the next task uses it."
        self.message_user(request, sentence, messages.SUCCESS)
        return HttpResponseRedirect(
            reverse("admin:skills_app_skill_change", args=[revision.skill_id])
        )


def contents_of(skill: ParsedSkill, *, revision: SkillRevision | None = None) -> dict[str, Any]:
    """Return what the template shows of a skill; what a revision keeps aside can be saved."""
    rows = SkillFile.objects.filter(revision=revision, blob__isnull=False) if revision else None
    ids = {} if rows is None else dict(rows.values_list("path", "pk"))
    aside = [
        {"path": path, "asset": asset, "file": ids.get(path)}
        for path, asset in sorted(skill.assets.items())
    ]
    return {"skill": skill, "aside": aside}


def _since(before: SkillRevision | None, skill: ParsedSkill) -> list[PartDiff]:
    if before is None:
        return []
    return changes(before=skill_of(before), after=skill, budget=Budget())


def project_of(skill: Skill) -> Any:
    """Return the id of the project that the skill is of, or its navigator."""
    return skill.project_id or (skill.navigator and skill.navigator.project_id)
