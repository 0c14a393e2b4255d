"""Two users of one project, each with a credential of his own, and a third without one."""

import re
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from tests.support.model_server import Recorded, Reply, ScriptedModel, ask, say
from tests.support.service import MODEL, Ledger, Service, provision, running_service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

SECRETS = {"jane@example.com": "jane-secret-4711", "ben@example.com": "ben-secret-0815"}


def append_once(request: Recorded) -> Reply:
    """Append the user's name where there is the tool; report what there was."""
    body = request.json
    name = re.search(r"I am (\w+)", body["messages"][1]["content"])
    assert name is not None
    if not any(tool["function"]["name"] == "ledger__append" for tool in body.get("tools", ())):
        system = body["messages"][0]["content"]
        line = next(line for line in system.splitlines() if line.startswith("- ledger:"))
        return say(f"I could not write for {name[1]}: {line}")
    if body["messages"][-1]["role"] != "tool":
        return ask(("ledger__append", {"text": name[1]}))
    return say(f"Written for {name[1]}.")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    ledger = Ledger()
    with ledger.running() as url, ScriptedModel(answer=append_once) as model:
        monkeypatch.setenv("OPENROUTER_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-planted-secret")
        monkeypatch.setenv("CAYLEX_ALLOWED_MODELS", MODEL)
        monkeypatch.setenv("CAYLEX_DEFAULT_MODEL", MODEL)
        auth = {"kind": "bearer", "level": "user"}
        credentials = [
            {"user_email": email, "server": "ledger", "value": value}
            for email, value in SECRETS.items()
        ]
        keys = provision(
            tmp_path,
            {
                "servers": [{"name": "ledger", "url": url, "auth": auth}],
                "credentials": credentials,
            },
        )
        with running_service(keys) as service:
            yield service, ledger, model


def test_each_ones_calls_carry_his_own_credential(
    service: tuple[Service, Ledger, ScriptedModel],
) -> None:
    running, ledger, _ = service
    for email in ("jane@example.com", "BEN@example.com"):
        name = email.partition("@")[0].lower()
        body = running.wait(running.submit(f"I am {name}.", user_email=email))
        assert (body["status"], body["report"]) == ("COMPLETED", f"Written for {name}.")
    assert list(zip(ledger.entries, ledger.authorizations, strict=True)) == [
        ("jane", "Bearer jane-secret-4711"),
        ("ben", "Bearer ben-secret-0815"),
    ]
    assert all(ledger.keys)
    assert len(set(ledger.keys)) == 2


def test_a_user_without_a_credential_gets_an_honest_report(
    service: tuple[Service, Ledger, ScriptedModel],
) -> None:
    running, ledger, _ = service
    body = running.wait(running.submit("I am eve.", user_email="eve@example.com"))
    assert body["status"] == "COMPLETED"
    assert "eve@example.com" in body["report"]
    assert [each["server"] for each in body["authentication_needed"]] == ["ledger"]
    assert ledger.entries == []


def test_no_secret_is_in_the_database_the_queue_or_a_log(
    service: tuple[Service, Ledger, ScriptedModel],
) -> None:
    running, _, model = service
    running.wait(running.submit("I am jane."))
    running.wait(running.submit("I am eve.", user_email="eve@example.com"))
    planted = [
        *SECRETS.values(),
        "sk-or-planted-secret",
        running.keys["platform_access_token"],
        running.keys["caylex_api_key"],
        running.keys["platform_access_token"].partition(".")[2],
        running.keys["caylex_api_key"].partition(".")[2],
    ]
    assert model.requests[0].headers["authorization"] == "Bearer sk-or-planted-secret"
    assert running.cluster.stop() == 0
    places = {
        "database": dump(),
        "workers' log": running.cluster.log,
        "web log": "\n".join(running.web.lines),
    }
    assert "jane@example.com" in places["database"], "the dump holds what is there"
    for name, text in places.items():
        assert text, name
        found = [secret for secret in planted if secret in text]
        assert not found, name
    for request in model.requests:
        assert not [secret for secret in planted if secret.encode() in request.body]


def dump() -> str:
    """Return every row of every table as text, the queue included."""
    lines = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT * FROM "{table}"')
            lines += [f"{table}: {[_text(value) for value in row]}" for row in cursor.fetchall()]
    call_command("check")
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, memoryview | bytes):
        return bytes(value).decode("latin-1")
    return str(value)
