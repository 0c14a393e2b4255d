"""What is paused: which projects go on, and pausing as what staff can do with a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caylex_project.accounts.admin.row_actions import ActionResult, RowAction, RowActionRejected


def pause_and_resume(*, paused: str, resumed: str, **more: Any) -> tuple[RowAction, RowAction]:
    """Return the two actions; the texts say what each of them means."""
    return (
        _action(True, name="pause", verb="Pause", question=paused, **more),
        _action(False, name="resume", verb="Resume", question=resumed, **more),
    )


def _action(paused: bool, **given: Any) -> RowAction:
    def perform(row: Any, answers: Mapping[str, Any]) -> ActionResult:
        rows = type(row)._default_manager.filter(pk=row.pk, paused=not paused)
        if not rows.update(paused=paused):
            raise RowActionRejected("Somebody was faster: it is so already.")
        return ActionResult(sentence=f"{row} is {'paused' if paused else 'in use again'}.")

    return RowAction(
        applies=lambda row: row.paused is not paused, perform=perform, alarming=paused, **given
    )
