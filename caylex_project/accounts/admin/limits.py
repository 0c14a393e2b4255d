"""The form of a project's or tenant's limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.db import models
from pydantic import ValidationError

from caylex_project.accounts.admin.row_actions import ActionResult, OptionalReasonForm, RowAction
from caylex_project.accounts.limits import ProjectLimits

_FRACTIONS = ("max_cost_usd", "timeout_seconds")


class ProjectLimitsForm(OptionalReasonForm):
    """Every limit that a project can have; an empty one is none."""

    limits: ClassVar[tuple[str, ...]] = tuple(ProjectLimits.model_fields)

    def __init__(self, data: Any = None, *, row: Any) -> None:
        super().__init__(data, row=row)
        for name in self.limits:
            kind = forms.FloatField if name in _FRACTIONS else forms.IntegerField
            self.fields[name] = kind(
                required=False,
                initial=row.limits.get(name),
                label=name.replace("_", " ").capitalize().replace("usd", "USD"),
                help_text=ProjectLimits.model_fields[name].description or "",
            )
        self.order_fields([*self.limits, "reason"])

    def clean(self) -> dict[str, Any]:
        """Check them as a file that provisions is checked."""
        given = dict(self.cleaned_data)
        set_ = {name: given[name] for name in self.limits if given.get(name) is not None}
        try:
            given["set"] = ProjectLimits.model_validate(set_).as_json()
        except ValidationError as refused:
            for each in refused.errors():
                self.add_error(str(each["loc"][0]), f"{each['msg']}.")
        return given


class TenantLimitsForm(ProjectLimitsForm):
    """What a tenant can be limited to."""

    limits = ("max_concurrent_tasks", "max_pending")


def _limit(row: Any, answers: Mapping[str, Any]) -> ActionResult:
    before, after = row.limits, answers["set"]
    rows: models.QuerySet[Any] = type(row)._default_manager.filter(pk=row.pk)
    rows.update(limits=after)
    return ActionResult(
        sentence=f"The limits of {row} are changed.", details={"before": before, "after": after}
    )


def limits_action(form: type[ProjectLimitsForm], **more: Any) -> RowAction:
    """Return the action that changes the limits which the form asks for."""
    return RowAction(
        name="limits",
        verb="Set limits",
        question="An empty one is no limit. Tasks that are submitted or taken up from now on go by "
        "them; a run keeps those that it began with.",
        form=form,
        perform=_limit,
        **more,
    )
