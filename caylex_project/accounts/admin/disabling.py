"""Disabling a row that has `disabled_at`, and enabling it again, as what staff can do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from caylex_project.accounts.admin.row_actions import ActionResult, RowAction, RowActionRejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Toggle:
    """One of the two: the question that is asked before, what does it, and what is said after.

    `perform` takes the row and the reason; False where somebody was faster. `{row}` in `said` is
    the row's name.
    """

    question: str
    perform: Callable[[Any, str], bool]
    said: str


def disable_and_enable(
    *, disable: Toggle, enable: Toggle, **more: Any
) -> tuple[RowAction, RowAction]:
    """Return the two actions."""
    return (
        _action(disable, name="disable", verb="Disable", when_disabled=False, **more),
        _action(enable, name="enable", verb="Enable", when_disabled=True, **more),
    )


def _action(change: Toggle, *, when_disabled: bool, **given: Any) -> RowAction:
    def perform(row: Any, answers: Mapping[str, Any]) -> ActionResult:
        if not change.perform(row, answers["reason"]):
            raise RowActionRejected("Somebody was faster: it is so already.")
        return ActionResult(sentence=change.said.format(row=row))

    return RowAction(
        question=change.question,
        applies=lambda row: (row.disabled_at is not None) is when_disabled,
        perform=perform,
        alarming=not when_disabled,
        **given,
    )
