"""Faults of the world, from a real provider's socket to the row that the caller reads."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from tests.system.faults.fault_cases import ATTEMPTS, CASES, Outcome, play_all

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(180)]

BUSY = "The model provider failed (HTTP 503): Words of theirs."
MODEL = "test/model"


@pytest.fixture(scope="module")
def outcomes(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> dict[str, Outcome]:
    """All cases, played at once; the database is empty again."""
    with django_db_blocker.unblock():
        try:
            return play_all()
        finally:
            call_command("flush", interactive=False, verbosity=0)


def kinds(outcome: Outcome) -> list[str]:
    return [kind for kind, _ in outcome.events]


def reasons(outcome: Outcome) -> list[str]:
    return [reason for kind, reason in outcome.events if kind == "waiting"]


def test_one_fault_is_tried_again_within_the_step(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["busy-once"]
    assert (outcome.task.status, outcome.task.report) == ("COMPLETED", "It is done.")
    assert kinds(outcome) == ["started", "completed"]
    assert len(outcome.requests) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    {
        "busy-twice": BUSY,
        "stalled": "The model provider sent nothing for 0.7 seconds.",
        "cut": "The connection to the model provider broke (ClientPayloadError).",
        "ends-early": "The model provider's answer was cut off.",
        "garbled": "The model provider sent something that is not a chat completion (text/html).",
        "error-inside": "The model provider failed (code 502): Upstream fell over.",
    }.items(),
)
def test_two_faults_let_the_task_wait_as_a_row_and_then_go_on(
    outcomes: dict[str, Outcome], name: str, reason: str
) -> None:
    outcome = outcomes[name]
    assert (outcome.task.status, outcome.task.report) == ("COMPLETED", "It is done.")
    assert (outcome.task.attempt, outcome.task.waiting_reason) == (0, "")
    assert kinds(outcome) == ["started", "waiting", "resumed", "completed"]
    assert reasons(outcome) == [reason]
    assert len(outcome.requests) == 3
    assert len(outcome.steps) == 1, "half an answer became a step"


def test_a_short_retry_after_is_slept_through(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["retry-after-a-moment"]
    assert kinds(outcome) == ["started", "completed"]
    assert len(outcome.gaps) == 1
    assert outcome.gaps[0] >= 1.0


def test_a_longer_retry_after_is_a_row_and_is_obeyed(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["retry-after-a-while"]
    assert kinds(outcome) == ["started", "waiting", "resumed", "completed"]
    assert reasons(outcome) == ["The model provider is busy (HTTP 429): Words of theirs."]
    assert len(outcome.gaps) == 1
    assert outcome.gaps[0] >= 6.0


def test_used_up_attempts_fail_the_task_with_a_sentence(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["used-up"]
    assert (outcome.task.status, outcome.task.stop_reason) == ("FAILED", "error")
    assert outcome.task.error == f"{BUSY} Given up after {ATTEMPTS} attempts in a row."
    assert len(outcome.requests) == 2 * ATTEMPTS
    assert kinds(outcome).count("waiting") == ATTEMPTS - 1


def test_a_step_resets_the_attempts(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["between-steps"]
    assert (outcome.task.status, outcome.task.attempt) == ("COMPLETED", 0)
    assert kinds(outcome).count("waiting") == 2 * (ATTEMPTS - 1)
    assert len(outcome.requests) == len(CASES["between-steps"])


FINAL = {
    "http-400": "The model provider refused the request (HTTP 400): Words of theirs.",
    "http-401": "The model provider refused the API key (HTTP 401); check OPENROUTER_API_KEY.",
    "http-402": "The model provider wants to be paid (HTTP 402); add credit, or raise the key's "
    "limit: Words of theirs.",
    "http-403": "The model provider forbade the request (HTTP 403); check what the API key may "
    "use: Words of theirs.",
    "http-404": f"The model provider does not know the model {MODEL} or the address (HTTP 404); "
    "check the model id and OPENROUTER_BASE_URL: Words of theirs.",
    "unpaid-inside": "The model provider wants to be paid (code 402); add credit, or raise the "
    "key's limit: Insufficient credits.",
}


@pytest.mark.parametrize(("name", "sentence"), FINAL.items())
def test_a_refusal_is_final_at_once_and_says_what_to_do(
    outcomes: dict[str, Outcome], name: str, sentence: str
) -> None:
    outcome = outcomes[name]
    assert (outcome.task.status, outcome.task.error) == ("FAILED", sentence)
    assert (outcome.task.report, outcome.task.stop_reason) == (None, "error")
    assert kinds(outcome) == ["started", "failed"]
    assert len(outcome.requests) == 1, "it was asked again"


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("tool-hangs", "unknown_outcome", "it did not answer in time"),
        ("tool-dies", "unknown_outcome", "the connection broke before the answer was complete"),
        ("tool-drips", "failed", "it did not answer in time"),
        ("tool-is-huge", "failed", "its answer was too large"),
        ("tool-is-a-bomb", "failed", "its answer was compressed, which is not accepted"),
    ],
)
def test_a_bad_tool_server_costs_its_call_and_the_agent_goes_on(
    outcomes: dict[str, Outcome], name: str, state: str, words: str
) -> None:
    outcome = outcomes[name]
    (call,) = outcome.calls
    assert (call.state, outcome.task.status) == (state, "COMPLETED")
    told = outcome.requests[-1].json["messages"][-1]
    assert told["role"] == "tool"
    assert words in told["content"]
    assert words in str(call.result)
    doubtful = state == "unknown_outcome"
    assert ("check before repeating it" in told["content"]) is doubtful
    assert (call.name in str(outcome.task.report)) is doubtful
    assert kinds(outcome) == ["started", "completed"]


def test_a_server_that_is_away_is_told_to_the_agent_and_costs_no_more(
    outcomes: dict[str, Outcome],
) -> None:
    outcome = outcomes["server-is-away"]
    assert outcome.task.status == "COMPLETED"
    asked = outcome.requests[0].json
    assert (
        "The server away cannot be used: it cannot be reached." in asked["messages"][0]["content"]
    )
    offered = [tool["function"]["name"] for tool in asked["tools"]]
    assert "ledger__append" in offered
    assert not [name for name in offered if name.startswith("away")]
