"""What is paused: which projects go on, and pausing as what staff can do with a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet

from caylex_project.accounts.models import Project
from caylex_project.accounts.row_actions import NotDone, Outcome, RowAction

_GOES_ON = Q(paused=False, disabled_at=None, tenant__paused=False, tenant__disabled_at=None)


def projects_that_go_on() -> QuerySet[Project]:
    """Return the projects whose tasks are claimed."""
    return Project.objects.filter(_GOES_ON)


def projects_that_rest() -> QuerySet[Project]:
    """Return the others: those that are paused or disabled, or whose tenant is."""
    return Project.objects.exclude(_GOES_ON)


def pause_and_resume(*, paused: str, resumed: str, **more: Any) -> tuple[RowAction, RowAction]:
    """Return the two actions; the texts say what each of them means."""
    return (
        _action(True, name="pause", verb="Pause", question=paused, **more),
        _action(False, name="resume", verb="Resume", question=resumed, **more),
    )


def _action(paused: bool, **given: Any) -> RowAction:
    def perform(row: Any, answers: Mapping[str, Any]) -> Outcome:
        rows = type(row)._default_manager.filter(pk=row.pk, paused=not paused)
        if not rows.update(paused=paused):
            raise NotDone("Somebody was faster: it is so already.")
        return Outcome(sentence=f"{row} is {'paused' if paused else 'in use again'}.")

    return RowAction(
        applies=lambda row: row.paused is not paused, perform=perform, alarming=paused, **given
    )
