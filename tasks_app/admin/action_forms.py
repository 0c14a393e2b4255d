"""What can be done with tasks and messages, and what is asked before it is."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django import forms
from django.core.exceptions import ValidationError
from django.http import Http404

from agent_runtime.text import CONTROL_REFUSED, holds_control_characters
from tasks_app.operations import cancel
from tasks_app.states import TERMINAL, Status


def _on_one_line(text: str) -> None:
    if holds_control_characters(text):
        raise ValidationError(CONTROL_REFUSED)


class ReasonForm(forms.Form):
    """Why it is done."""

    reason = forms.CharField(
        max_length=cancel.MAX_REASON,
        validators=[_on_one_line],
        help_text="Stands in the audit trail, and in the report of a task that is cancelled.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that can be done with rows; `applies_in` are the states of a task in which."""

    name: str
    verb: str
    done: str
    question: str
    applies_in: frozenset[Status] = frozenset()


CANCEL = Action(
    name="cancel",
    verb="Cancel",
    done="cancelled",
    question="They stop for good: those that wait at once, those that run within two seconds.",
    applies_in=frozenset(Status) - frozenset(TERMINAL),
)
RETRY = Action(
    name="retry",
    verb="Retry",
    done="retried",
    question="They go on from their last completed step, with fresh attempts and limits.",
    applies_in=frozenset({Status.FAILED, Status.INCOMPLETE}),
)
RERUN = Action(
    name="rerun",
    verb="Rerun",
    done="run anew",
    question="A new task is made of the same submission; this one stays as it is.",
    applies_in=frozenset(TERMINAL),
)
OF_TASKS = (CANCEL, RETRY, RERUN)
RESEND = Action(
    name="resend",
    verb="Resend",
    done="sent again",
    question="The same message is sent again under its own id, with a day of tries before it.",
)


def moment_in(text: str) -> datetime.datetime:
    """Return the moment. Raises Http404 where it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Http404 from None
    if moment.tzinfo is None:
        raise Http404
    return moment


def ids_in(texts: Sequence[str]) -> list[uuid.UUID]:
    """Return each id once. Raises Http404 where one is none: no such task can exist."""
    try:
        return list(dict.fromkeys(uuid.UUID(text) for text in texts))
    except ValueError:
        raise Http404 from None
