"""What is at the bottom of a task's ending: for each way to end, what staff are told to do."""

from __future__ import annotations

import pytest

from agent_runtime.errors import ModelUnavailable
from agent_runtime.llm.errors import classify_status
from agent_runtime.outcome import StopReason
from tasks_app.failures import ADVICE, FATAL, FailureCause, cause_of
from tasks_app.worker.journal.outcomes import after_crash, after_model_error
from tests.admin.test_bulk_actions import FAILED, change_page
from tests.admin.test_bulk_actions import staff as staff_with
from tests.api.test_poll import ended
from tests.support.accounts import Account

REASONS = {
    StopReason.FINAL_REPORT: None,
    StopReason.AGENT_INCOMPLETE: FailureCause.AGENT,
    StopReason.NO_FINAL_REPORT: FailureCause.AGENT,
    StopReason.MAX_STEPS: FailureCause.LIMIT,
    StopReason.MAX_TOOL_CALLS: FailureCause.LIMIT,
    StopReason.MAX_TOKENS: FailureCause.LIMIT,
    StopReason.MAX_COST: FailureCause.LIMIT,
    StopReason.TIMEOUT: FailureCause.LIMIT,
    StopReason.LOOP_DETECTED: FailureCause.LOOP,
    StopReason.CANCELLED: FailureCause.CANCELLED,
}


def error_of(status: int, *, attempt: int = 1) -> str:
    """Return what the engine writes when it gives up at this answer of the provider."""
    said = classify_status(
        status=status,
        code=f"HTTP {status}",
        detail="Given up after all (400)" if status == 402 else "no",
        model="a/b",
        retry_after=None,
    )
    error = after_model_error(said, attempt=attempt, max_attempts=5).error
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (error_of(503, attempt=5), FailureCause.MODEL_UNAVAILABLE),
        (error_of(429, attempt=7), FailureCause.MODEL_UNAVAILABLE),
        (
            after_model_error(ModelUnavailable("Cut."), attempt=5, max_attempts=5).error,
            FailureCause.MODEL_UNAVAILABLE,
        ),
        *((error_of(each), FailureCause.ACCOUNT) for each in (302, 401, 403, 404)),
        *((error_of(each, attempt=4), FailureCause.REQUEST) for each in (400, 413, 422)),
        (after_crash(attempt=5, max_attempts=5).error, FailureCause.DEFECT),
        (FATAL, FailureCause.QUARANTINED),
        ("Nobody wrote this.", FailureCause.ACCOUNT),
    ],
)
def test_a_fault_is_told_by_what_the_engine_wrote(error: str, cause: FailureCause) -> None:
    assert cause_of(stop_reason=StopReason.ERROR, error=error, needs_connection=True) is cause
    assert ("retry does not help" in ADVICE[cause]) is (cause is FailureCause.REQUEST)


def test_what_a_provider_quotes_is_not_taken_for_the_engine_s_words() -> None:
    error = error_of(402)
    assert "Given up after all" in error
    assert cause_of(stop_reason=StopReason.ERROR, error=error, needs_connection=False) is (
        FailureCause.ACCOUNT
    )


@pytest.mark.parametrize(("reason", "cause"), REASONS.items())
def test_each_other_reason_has_its_cause(reason: StopReason, cause: FailureCause | None) -> None:
    assert cause_of(stop_reason=reason, error=None, needs_connection=False) is cause


def test_a_missing_connection_comes_before_the_reason_but_not_before_a_person() -> None:
    for reason in (StopReason.AGENT_INCOMPLETE, StopReason.MAX_STEPS):
        assert (
            cause_of(stop_reason=reason, error=None, needs_connection=True)
            is FailureCause.CONNECTION
        )
    stopped = cause_of(stop_reason=StopReason.CANCELLED, error=None, needs_connection=True)
    assert stopped is FailureCause.CANCELLED
    assert cause_of(stop_reason=None, error=None, needs_connection=True) is None


@pytest.mark.django_db
def test_the_page_says_what_helps_to_those_too_who_may_not_read_the_error(acme: Account) -> None:
    task = ended(acme, **{**FAILED, "error": error_of(400)})

    page = staff_with("vera", "view_agenttask").get(change_page(task), secure=True)

    text = page.content.decode()
    assert "retry does not help" in text
    assert "refused the request" not in text
