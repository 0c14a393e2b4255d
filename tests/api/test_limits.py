"""Limits by API: asked for, capped, shown, and refused with the name of the field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks_app.models import AgentTask
from tests.api.test_poll import ended
from tests.support.accounts import Account, Caller

ALL = {
    "max_steps": 7,
    "max_tool_calls": 8,
    "max_tokens": 9,
    "max_cost_usd": 0.25,
    "timeout_seconds": 60.5,
}


def shown(backend: Caller, **fields: Any) -> dict[str, Any]:
    answer = backend.submit(**fields)
    assert answer.status_code == 202, answer.content
    limits: dict[str, Any] = backend.poll(answer.json()["task_id"]).json()["limits"]
    return limits


def test_what_is_asked_for_is_kept_and_shown(backend: Caller) -> None:
    assert shown(backend, limits=ALL) == ALL
    assert AgentTask.objects.get().limits == {"schema": 1, **ALL}


@pytest.mark.parametrize("limits", [None, {}, dict.fromkeys(ALL)])
def test_null_is_absent(backend: Caller, limits: Any) -> None:
    assert shown(backend, limits=limits) == {
        "max_steps": 200,
        "max_tool_calls": None,
        "max_tokens": None,
        "max_cost_usd": None,
        "timeout_seconds": 14400.0,
    }


def test_the_project_s_limits_cap_what_is_asked_for(backend: Caller, acme: Account) -> None:
    acme.project.limits = {**ALL, "max_steps": 1_000}
    acme.project.save()

    more = dict.fromkeys(ALL, 500_000)
    assert shown(backend, limits=more) == {**ALL, "max_steps": 200}, "the service caps, too"
    assert shown(backend, limits={"max_tokens": 3}) == {**ALL, "max_steps": 200, "max_tokens": 3}


@pytest.mark.parametrize(
    ("limits", "field", "code", "message"),
    [
        ({"max_steps": 0}, "limits.max_steps", "out_of_range", "This must be at least 1."),
        ({"max_steps": "5"}, "limits.max_steps", "invalid_type", "This must be a whole number."),
        ({"max_steps": 5.5}, "limits.max_steps", "invalid_type", "This must be a whole number."),
        ({"max_steps": True}, "limits.max_steps", "invalid_type", "This must be a whole number."),
        ({"max_tokens": -1}, "limits.max_tokens", "out_of_range", "This must be at least 1."),
        (
            {"max_tool_calls": 10**9 + 1},
            "limits.max_tool_calls",
            "out_of_range",
            "This must be at most 1,000,000,000.",
        ),
        ({"max_cost_usd": 0}, "limits.max_cost_usd", "out_of_range", "This must be more than 0."),
        ({"max_cost_usd": "1"}, "limits.max_cost_usd", "invalid_type", "This must be a number."),
        ({"timeout_seconds": 0}, "limits.timeout_seconds", "out_of_range", None),
        ({"max_step": 5}, "limits.max_step", "unknown_field", "This field is not known here."),
        ({"max_pending": 5}, "limits.max_pending", "unknown_field", None),
        ([], "limits", "invalid_type", "This must be an object."),
        (5, "limits", "invalid_type", "This must be an object."),
    ],
)
def test_an_odd_limit_is_refused_by_its_name(
    backend: Caller, limits: Any, field: str, code: str, message: str | None
) -> None:
    answer = backend.submit(limits=limits)

    assert answer.status_code == 400
    (problem,) = answer.json()["errors"]
    assert (problem["field"], problem["code"]) == (field, code)
    assert message is None or problem["message"] == message
    assert not AgentTask.objects.exists()


def test_a_row_from_before_there_were_all_of_them_is_shown(backend: Caller, acme: Account) -> None:
    task = ended(
        acme,
        status="INCOMPLETE",
        stop_reason="max_tokens",
        report="Some.",
        limits={"schema": 1, "max_steps": 3, "max_tool_calls": None, "timeout_seconds": 5},
    )

    body = backend.poll(task.id).json()

    assert (body["limits"]["max_steps"], body["limits"]["max_cost_usd"]) == (3, None)
    assert body["stop_reason"] == "max_tokens"
    assert body["result"]["hit_iteration_limit"] is False
    assert body["progress"]["current"] == "Stopped: the limit on tokens was reached."


def test_a_null_within_the_limits_makes_no_other_submission_of_it(backend: Caller) -> None:
    key = {"Idempotency-Key": "one"}
    answers = [
        backend.post(json.dumps(backend.account.body(limits=limits)), headers=key)
        for limits in ({"max_steps": 5}, {"max_steps": 5, "max_tokens": None})
    ]

    assert [each.status_code for each in answers] == [202, 202]
    assert AgentTask.objects.count() == 1
