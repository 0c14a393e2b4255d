"""Disabling a row that has `disabled_at`, and enabling it again, as what staff can do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from caylex_project.accounts.admin.row_actions import ActionResult, NotDone, RowAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One of the two: the question that is asked before, what does it, and what is said after.

    `perform` takes the row and the reason; False where somebody was faster. `{row}` in `said` is
    the row's name.
    """

    question: str
    perform: Callable[[Any, str], bool]
    said: str


def disable_and_enable(
    *, disable: Change, enable: Change, **more: Any
) -> tuple[RowAction, RowAction]:
    """Return the two actions."""
    return (
        _action(disable, name="disable", verb="Disable", when_disabled=False, **more),
        _action(enable, name="enable", verb="Enable", when_disabled=True, **more),
    )


def _action(change: Change, *, when_disabled: bool, **given: Any) -> RowAction:
    def perform(row: Any, answers: Mapping[str, Any]) -> ActionResult:
        if not change.perform(row, answers["reason"]):
            raise NotDone("Somebody was faster: it is so already.")
        return ActionResult(sentence=change.said.format(row=row))

    return RowAction(
        question=change.question,
        applies=lambda row: (row.disabled_at is not None) is when_disabled,
        perform=perform,
        alarming=not when_disabled,
        **given,
    )
