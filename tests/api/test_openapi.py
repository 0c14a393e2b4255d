"""The description says what the service does: checked by machine, in both directions."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import yaml
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.test import Client
from hypothesis import HealthCheck, settings
from pydantic import BaseModel
from schemathesis.generation import GenerationMode

from caylex_project import VERSION
from tasks_app.api.openapi.webhooks import ConnectionMessage, WebhookMessage
from tasks_app.api.requests.changes import (
    CancelRequest,
    ContinueRequest,
    MetadataRequest,
    RerunRequest,
    RetryRequest,
)
from tasks_app.api.requests.submit import SubmitRequest
from tasks_app.api.responses.sessions import TraceResponse, TranscriptResponse
from tasks_app.api.responses.task_list import TasksResponse
from tasks_app.api.responses.tasks import (
    EventsResponse,
    ProblemResponse,
    SubmitResponse,
    TaskResponse,
)
from tests.api.test_poll import ended, make_task
from tests.support.accounts import Account, Caller
from tests.support.journal_rows import lived

OPENAPI = "/api/v1/docs/openapi.yaml"
TASK = "/api/v1/agent-task/{task_id}"
FAILED = {"status": "FAILED", "stop_reason": "error", "error": "No credit."}


@pytest.fixture
def description(db: None) -> dict[str, Any]:
    """What the service says of itself."""
    answer = Client().get(OPENAPI)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/yaml; charset=utf-8"
    read: dict[str, Any] = yaml.safe_load(answer.content)
    return read


schema = schemathesis.openapi.from_wsgi(OPENAPI, get_wsgi_application())


@pytest.mark.usefixtures("one_connection")
@schema.parametrize()
@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_generated_request_is_answered_as_described(case: Any, acme: Account) -> None:
    positive = case.meta is None or case.meta.generation.mode == GenerationMode.POSITIVE
    if positive and case.path.endswith("/agent-task") and isinstance(case.body, dict):
        case.body["caylex_api_key"] = acme.key  # so that good requests get as far as a task
        if isinstance(case.body.get("webhook"), dict):
            case.body["webhook"]["url"] = "http://127.0.0.1:8903/"
        if case.headers and "Idempotency-Key" in case.headers:  # one key, one body
            case.headers["Idempotency-Key"] = uuid.uuid4().hex
    if positive and "task_id" in case.path_parameters:
        over = case.path.endswith(("/retry", "/continue", "/rerun")) or case.method == "DELETE"
        task = ended(acme, **FAILED) if over else make_task(acme)
        case.path_parameters["task_id"] = str(task.id)
    if positive and "session_id" in case.path_parameters:
        case.path_parameters["session_id"] = str(lived(acme).session_id)
    case.call_and_validate(headers=acme.bearer)


def test_it_is_valid_and_complete_for_the_generator(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command(
        "spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml")
    )

    assert "arning" not in capsys.readouterr().err


def test_it_holds_the_endpoints_and_only_one_form_of_each(description: dict[str, Any]) -> None:
    paths = description["paths"]
    assert {(path, *operations) for path, operations in paths.items()} == {
        ("/api/v1/agent-task", "get", "post"),
        (TASK, "get", "patch", "delete"),
        (f"{TASK}/events", "get"),
        (f"{TASK}/cancel", "post"),
        (f"{TASK}/retry", "post"),
        (f"{TASK}/continue", "post"),
        (f"{TASK}/rerun", "post"),
        (f"{TASK}/transcript", "get"),
        ("/api/v1/queries/query-logs/{session_id}/trace", "get"),
    }
    always = {"401", "403", "404", "406", "431", "503"}
    with_body = {*always, "400", "413", "415"}
    answers = {
        operation["operationId"]: set(operation["responses"])
        for each in paths.values()
        for operation in each.values()
    }
    assert answers == {
        "submitAgentTask": {"202", "422", "429", *with_body},
        "listAgentTasks": {"200", "400", *always} - {"404"},
        "getAgentTask": {"200", "304", "400", *always},
        "changeAgentTask": {"200", "409", *with_body},
        "deleteAgentTask": {"204", "409", *always},
        "listAgentTaskEvents": {"200", "400", *always},
        "cancelAgentTask": {"200", "202", "422", *with_body},
        "retryAgentTask": {"202", "409", "422", "429", *with_body},
        "continueAgentTask": {"202", "409", "422", "429", *with_body},
        "rerunAgentTask": {"202", "409", "422", "429", *with_body},
        "getAgentTaskTranscript": {"200", "400", *always},
        "getSessionTrace": {"200", "400", *always},
    }
    for each in paths.values():
        for operation in each.values():
            assert operation["security"] == [{"platformToken": []}]
    assert description["components"]["securitySchemes"]["platformToken"]["scheme"] == "bearer"


def test_whatever_begins_or_stops_something_takes_a_key(description: dict[str, Any]) -> None:
    for each in description["paths"].values():
        for method, operation in each.items():
            names = {parameter["name"] for parameter in operation["parameters"]}
            assert ("Idempotency-Key" in names) == (method == "post"), operation["operationId"]
            for status, answer in operation["responses"].items():
                told = "Idempotent-Replayed" in answer.get("headers", {})
                assert told == (method == "post" and status.startswith("2"))


def test_a_body_is_required_where_it_says_what_to_do(description: dict[str, Any]) -> None:
    paths = description["paths"]
    assert paths["/api/v1/agent-task"]["post"]["requestBody"]["required"] is True
    assert paths[f"{TASK}/continue"]["post"]["requestBody"]["required"] is True
    for path in (f"{TASK}/cancel", f"{TASK}/retry", f"{TASK}/rerun"):
        assert "required" not in paths[path]["post"]["requestBody"]


def test_every_answer_and_request_has_an_example_that_fits(description: dict[str, Any]) -> None:
    bodies: dict[str, tuple[type[BaseModel] | None, type[BaseModel]]] = {
        "submitAgentTask": (SubmitRequest, SubmitResponse),
        "listAgentTasks": (None, TasksResponse),
        "getAgentTask": (None, TaskResponse),
        "changeAgentTask": (MetadataRequest, TaskResponse),
        "deleteAgentTask": (None, TaskResponse),
        "listAgentTaskEvents": (None, EventsResponse),
        "cancelAgentTask": (CancelRequest, TaskResponse),
        "retryAgentTask": (RetryRequest, TaskResponse),
        "continueAgentTask": (ContinueRequest, TaskResponse),
        "rerunAgentTask": (RerunRequest, SubmitResponse),
        "getAgentTaskTranscript": (None, TranscriptResponse),
        "getSessionTrace": (None, TraceResponse),
    }
    for each in description["paths"].values():
        for operation in each.values():
            request, answer = bodies[operation["operationId"]]
            if request is not None:
                assert _examples(operation["requestBody"])
                for value in _examples(operation["requestBody"]):
                    request.model_validate(value)
            for status, answered in operation["responses"].items():
                described = resolved(description, answered)
                if status in ("204", "304"):
                    assert "content" not in described
                    continue
                kind = answer if status.startswith("2") else ProblemResponse
                assert _examples(described), status
                for value in _examples(described):
                    read = kind.model_validate_json(json.dumps(value))
                    shown = read.model_dump(mode="json", exclude_unset=True)
                    assert shown == value


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("agentTaskEnded", WebhookMessage),
        ("agentTaskAuthenticationNeeded", ConnectionMessage),
    ],
)
def test_the_message_to_a_webhook_is_described_with_its_headers_and_an_example(
    description: dict[str, Any], name: str, model: type[BaseModel]
) -> None:
    sent = description["webhooks"][name]["post"]
    assert len(description["webhooks"]) == 2
    assert {each["name"] for each in sent["parameters"]} == {
        *("webhook-id", "webhook-timestamp", "webhook-signature")
    }
    [example] = _examples(sent["requestBody"])
    read = model.model_validate_json(json.dumps(example))
    assert read.model_dump(mode="json", exclude_unset=True) == example
    assert set(sent["responses"]) == {"2XX", "410", "default"}


def test_every_reference_of_the_description_leads_to_a_schema(description: dict[str, Any]) -> None:
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(description)))
    assert {"WebhookMessage", "EndedTask", "StopReason", "TaskResponse"} <= names
    assert names <= set(description["components"]["schemas"])


def resolved(description: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return what a part is, where it is written once for several places too."""
    if "$ref" not in part:
        return part
    name = part["$ref"].removeprefix("#/components/responses/")
    found: dict[str, Any] = description["components"]["responses"][name]
    return found


def every_schema(part: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects of the description; schemas are among them."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part:
        if isinstance(each, dict | list):
            yield from every_schema(each)


def test_what_is_optional_has_no_default_that_a_client_would_have_to_send(
    description: dict[str, Any],
) -> None:
    components = description["components"]["schemas"]
    for schema in every_schema(description):
        assert schema.get("default", 0) is not None, schema
        if {"anyOf", "oneOf"} & schema.keys():
            beside = {"pattern", "minLength", "maxLength", "minimum", "maximum", "enum"}
            assert not beside & schema.keys(), schema
    for name, schema in components.items():
        for each in schema.get("properties", {}).values():
            assert "default" not in each, name
    assert components["SubmitRequest"]["required"] == ["caylex_api_key", "user_email", "prompt"]


def test_the_description_says_what_linters_ask_for(description: dict[str, Any]) -> None:
    info = description["info"]
    assert info["version"] == VERSION
    assert info["license"] == {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    assert [each["url"] for each in description["servers"]] == ["/"]
    operations = [
        operation
        for each in (*description["paths"].values(), *description["webhooks"].values())
        for operation in each.values()
    ]
    tags = {each["name"] for each in description["tags"]}
    assert {tag for operation in operations for tag in operation["tags"]} == tags
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    assert all("security" in operation for operation in operations)


def test_an_error_of_several_operations_is_written_once(description: dict[str, Any]) -> None:
    shared = description["components"]["responses"]
    assert {"unauthenticated", "task_not_found", "database_unavailable"} <= set(shared)
    for path in description["paths"].values():
        for operation in path.values():
            reference = operation["responses"]["401"]
            assert reference == {"$ref": "#/components/responses/unauthenticated"}
    text = json.dumps(description)
    assert all(text.count(json.dumps(each)) == 1 for each in shared.values())


def _examples(part: dict[str, Any]) -> list[Any]:
    examples = part["content"]["application/json"]["examples"].values()
    return [each["value"] for each in examples]


def test_a_poll_has_exactly_the_described_keys(
    backend: Caller, description: dict[str, Any]
) -> None:
    body = backend.poll(backend.submit().json()["task_id"]).json()

    described = description["components"]["schemas"]["TaskResponse"]
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
