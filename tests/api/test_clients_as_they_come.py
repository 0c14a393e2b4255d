"""HTTP clients with their defaults, which offer an upgrade: Java's HttpClient, and curl --http2."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_app.models import AgentTask
from tests.support.accounts import SUBMIT, Account, make_account
from tests.support.cluster import database_url
from tests.support.web_process import Web, running_web

pytestmark = pytest.mark.django_db(transaction=True)

JAVA = """
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

class Backend {
    static HttpClient client = HttpClient.newHttpClient();
    static String token, base;

    static HttpResponse<String> ask(String method, String path, String body) throws Exception {
        var publisher = body == null ? BodyPublishers.noBody() : BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(base + path)).method(method, publisher)
            .header("Authorization", "Bearer " + token).header("Content-Type", "application/json");
        var answer = client.send(request.build(), BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.version());
        return answer;
    }

    public static void main(String[] given) throws Exception {
        base = given[0];
        token = given[1];
        var made = ask("POST", "", given[2]);
        var task = "/" + made.body().replaceAll(".*\\"task_id\\": ?\\"([^\\"]+)\\".*", "$1");
        ask("GET", task, null);
        ask("PATCH", task, "{\\"metadata\\": {\\"a\\": \\"b\\"}}");
        ask("POST", task + "/cancel", "{\\"reason\\": \\"not needed\\"}");
        ask("POST", task + "/cancel", "{\\"nonsense\\": 1}");
    }
}
"""


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    """A web process on the test's database."""
    with running_web(database=database_url()) as running:
        yield running


@pytest.fixture
def account(transactional_db: None) -> Account:
    """An account that other processes can see."""
    return make_account("acme")


def test_java_submits_changes_and_cancels(web: Web, account: Account, tmp_path: Path) -> None:
    if shutil.which("java") is None or shutil.which("javac") is None:
        pytest.skip("Java NOT RUN: there is no JDK on this machine")
    source = tmp_path / "Backend.java"
    source.write_text(JAVA)

    ran = subprocess.run(
        ["java", source, f"{web.address}{SUBMIT}", account.token, json.dumps(account.body())],
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert ran.returncode == 0, ran.stderr
    said = [line.partition(" ") for line in ran.stdout.splitlines()]
    assert [status for status, _, _ in said] == ["202", "200", "200", "202", "400"], ran.stdout
    assert {version for _, _, version in said} == {"HTTP_1_1"}
    task = AgentTask.objects.get()
    assert (task.stop_reason, task.metadata) == ("cancelled", {"a": "b"})


def test_curl_submits_and_cancels(web: Web, account: Account) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl NOT RUN: there is none on this machine")

    def curl(path: str, body: str) -> tuple[str, str]:
        ran = subprocess.run(
            [
                *("curl", "--silent", "--http2", "--noproxy", "*", "--max-time", "60"),
                *("--header", f"Authorization: Bearer {account.token}"),
                *("--header", "Content-Type: application/json", "--data-binary", body),
                *("--write-out", "\\n%{http_code}", f"{web.address}{SUBMIT}{path}"),
            ],
            capture_output=True,
            text=True,
        )
        answer, _, status = ran.stdout.rpartition("\n")
        return status, answer

    status, made = curl("", json.dumps(account.body()))
    assert status == "202", made
    task_id = json.loads(made)["task_id"]
    assert curl(f"/{task_id}/cancel", '{"reason": "not needed"}')[0] == "202"
    assert AgentTask.objects.get().stop_reason == "cancelled"
