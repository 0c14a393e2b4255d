"""The description says what the service does: checked by machine, in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from django.core import signals
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, settings
from schemathesis.generation import GenerationMode

from tasks_app.serializers import SubmitAnswer, SubmitRequest, TaskAnswer
from tests.api.conftest import Account, Caller
from tests.api.test_poll import make_task

OPENAPI = "/api/v1/docs/openapi.yaml"


@pytest.fixture
def description(db: None) -> dict[str, Any]:
    """What the service says of itself."""
    answer = Client().get(OPENAPI)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/yaml; charset=utf-8"
    read: dict[str, Any] = yaml.safe_load(answer.content)
    return read


@pytest.fixture
def one_connection(db: None) -> Iterator[None]:
    """Keep the requests on the test's own connection, inside its transaction."""
    ends = (signals.request_started, signals.request_finished)
    for each in ends:
        each.disconnect(close_old_connections)
    yield
    for each in ends:
        each.connect(close_old_connections)


schema = schemathesis.openapi.from_wsgi(OPENAPI, get_wsgi_application())


@pytest.mark.usefixtures("one_connection")
@schema.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_generated_request_is_answered_as_described(case: Any, acme: Account) -> None:
    positive = case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE
    if positive and isinstance(case.body, dict):
        case.body["caylex_api_key"] = acme.key  # so that good requests get as far as a task
    if positive and "task_id" in case.path_parameters:
        case.path_parameters["task_id"] = str(make_task(acme).id)
    case.call_and_validate(headers=acme.bearer)


def test_it_is_valid_and_complete_for_the_generator(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command(
        "spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml")
    )

    assert "arning" not in capsys.readouterr().err


def test_it_holds_the_two_endpoints_and_only_one_form_of_each(
    description: dict[str, Any],
) -> None:
    assert set(description["paths"]) == {"/api/v1/agent-task", "/api/v1/agent-task/{task_id}"}
    submit = description["paths"]["/api/v1/agent-task"]["post"]
    poll = description["paths"]["/api/v1/agent-task/{task_id}"]["get"]
    errors = {"400", "401", "403", "404", "406", "413", "415", "431", "503"}
    assert set(submit["responses"]) == {"202", *errors}
    assert set(poll["responses"]) == {"200", "401", "404", "406", "431", "503"}
    assert submit["security"] == poll["security"] == [{"platformToken": []}]
    assert description["components"]["securitySchemes"]["platformToken"]["scheme"] == "bearer"


def test_every_answer_and_request_has_an_example_that_fits(description: dict[str, Any]) -> None:
    submit = description["paths"]["/api/v1/agent-task"]["post"]
    poll = description["paths"]["/api/v1/agent-task/{task_id}"]["get"]

    for operation in (submit, poll):
        for status, answer in operation["responses"].items():
            assert _examples(answer), status
    for value in _examples(submit["requestBody"]):
        SubmitRequest.model_validate(value)
    for value in _examples(submit["responses"]["202"]):
        assert SubmitAnswer.model_validate_json(json.dumps(value)).model_dump(mode="json") == value
    for value in _examples(poll["responses"]["200"]):
        assert TaskAnswer.model_validate_json(json.dumps(value)).model_dump(mode="json") == value


def _examples(part: dict[str, Any]) -> list[Any]:
    examples = part["content"]["application/json"]["examples"].values()
    return [each["value"] for each in examples]


def test_a_poll_has_exactly_the_described_keys(
    backend: Caller, description: dict[str, Any]
) -> None:
    body = backend.poll(backend.submit().json()["task_id"]).json()

    described = description["components"]["schemas"]["TaskAnswer"]
    assert set(body) == set(described["properties"]) == set(described["required"])


@pytest.mark.parametrize("path", ["/api/v1/docs", "/api/v1/docs/"])
def test_the_docs_page_takes_everything_from_here_and_holds_no_inline_code(
    db: None, path: str
) -> None:
    answer = Client().get(path)

    page = answer.content.decode()
    assert answer.status_code == 200
    assert "http:" not in page
    assert "https:" not in page
    assert "<style" not in page
    assert " style=" not in page
    assert page.count("<script") == page.count("<script src=") == 2
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy


@pytest.mark.parametrize("path", ["/api/v1/docs", OPENAPI])
def test_the_two_pages_are_for_reading_alone(db: None, path: str) -> None:
    answer = Client().post(path)

    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
