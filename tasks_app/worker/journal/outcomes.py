"""The ways in which an owner lets go of a task, as values for the journal."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from dataclasses import replace

from agent_runtime.errors import ModelError, ModelUnavailable
from agent_runtime.outcome import Outcome, StopReason
from agent_runtime.report import facts_of, failed_report, final_report
from agent_runtime.transcript import Transcript
from tasks_app.failures import BROKE, GIVEN_UP
from tasks_app.states import Status
from tasks_app.worker.journal.entries import Release

BACKOFF_SECONDS = (
    5.0,
    15.0,
    60.0,
    300.0,
)  # seconds before the attempts after the first; the last repeats
JITTER = 0.2  # share by which a wait is longer or shorter, so that the waiting do not march
MAX_WAIT = 900.0  # seconds; what a Retry-After may ask for at most


def ended(outcome: Outcome, transcript: Transcript) -> Release:
    """The run ended as the loop says."""
    return Release(
        status=Status.COMPLETED if outcome.completed else Status.INCOMPLETE,
        event="completed" if outcome.completed else "incomplete",
        stop_reason=outcome.reason,
        report=final_report(outcome, transcript),
        final_report_produced=outcome.report is not None and outcome.final,
    )


def cancelled(transcript: Transcript, *, reason: str) -> Release:
    """The task was asked to stop; the account says what had been done."""
    ending = Outcome(completed=False, reason=StopReason.CANCELLED, detail=reason)
    return Release(
        status=Status.INCOMPLETE,
        event="incomplete",
        stop_reason=StopReason.CANCELLED,
        report=final_report(ending, transcript),
        final_report_produced=False,
    )


def handed_back() -> Release:
    """The owner is told to end; the task is due at once, nothing is charged."""
    return Release(status=Status.PENDING, event="handed_back", wait=0.0)


def awaits_connection(
    *, until: datetime.datetime, wait: float, user: str, servers: Sequence[str]
) -> Release:
    """The run waits until its user has connected the servers, without a slot; `wait` in seconds."""
    return Release(
        status=Status.PENDING,
        event="waiting_for_connection",
        wait=wait,
        reason=f"{user} must connect {', '.join(servers)}."[:500],
        connection_wait_until=until,
    )


def failed(sentence: str) -> Release:
    """The task is at its end with a fault that a person has to look at."""
    return Release(
        status=Status.FAILED,
        event="failed",
        stop_reason=StopReason.ERROR,
        final_report_produced=False,
        error=sentence[:1000],
    )


def after_model_error(fault: ModelError, *, attempt: int, max_attempts: int) -> Release:
    """The model did not answer for the `attempt`-th time in a row: wait, or give up."""
    if not isinstance(fault, ModelUnavailable):
        return failed(str(fault))
    if attempt >= max_attempts:
        return failed(f"{fault} {GIVEN_UP.format(attempt=attempt)}")
    planned = BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS)) - 1]
    planned *= random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret hangs on it
    return Release(
        status=Status.PENDING,
        event="waiting",
        wait=min(max(planned, fault.retry_after or 0.0), MAX_WAIT),
        reason=str(fault)[:500],
    )


def with_account(release: Release, transcript: Transcript) -> Release:
    """Return the release with the engine's account, where the task fails after a step."""
    if release.error is None:
        return release
    return replace(release, report=failed_report(release.error, facts_of(transcript)))


def after_crash(*, attempt: int, max_attempts: int) -> Release:
    """Something of ours broke while the task was driven: try again later, not for ever."""
    return after_model_error(ModelUnavailable(BROKE), attempt=attempt, max_attempts=max_attempts)
