"""The limits in front of Django, on real sockets: no database is needed to refuse."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caylex_project.web.limits import MAX_BODY, MAX_HEADERS
from tests.support.web_process import Web, read_all, read_one, running_web

HEAD = b"POST /api/v1/agent-task HTTP/1.1\r\nHost: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
UNKNOWN = b"GET /api/none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A web process without a database of ours."""
    with running_web() as running:
        yield running


def parsed(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return status, headers (lower case) and body of one raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return int(first.split()[1]), headers, json.loads(body)


def assert_refused(answer: bytes, *, status: int, code: str) -> None:
    got, headers, body = parsed(answer)
    assert (got, body["code"]) == (status, code)
    assert set(body) == {"detail", "code", "request_id"}
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == body["request_id"]
    assert headers["connection"] == "close"


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(HEAD + JSON + b"Content-Length: 3000000\r\n\r\n")
        answer = read_one(connection)  # not a byte of the body was sent

    assert_refused(answer, status=413, code="body_too_large")


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**12, 10**18])
def test_any_length_over_the_limit_is_413(web: Web, length: int) -> None:
    with web.connect() as connection:
        connection.sendall(HEAD + JSON + b"Content-Length: %d\r\n\r\n{" % length)
        answer = read_one(connection)

    assert_refused(answer, status=413, code="body_too_large")


def test_who_waits_to_be_asked_for_a_large_body_is_not_asked(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(HEAD + JSON + b"Content-Length: 3000000\r\nExpect: 100-continue\r\n\r\n")
        answer = read_all(connection)  # the server closes at once

    assert not answer.startswith(b"HTTP/1.1 100")
    assert_refused(answer, status=413, code="body_too_large")


def test_who_sends_three_megabytes_without_looking_gets_to_read_the_413(web: Web) -> None:
    body = b'{"prompt": "' + b"x" * 3_000_000 + b'"}'
    answer = web.ask(HEAD + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    assert_refused(answer, status=413, code="body_too_large")


def test_a_chunked_body_of_300_megabytes_is_413_early_and_memory_stays_flat(web: Web) -> None:
    web.ask(UNKNOWN)
    before = web.peak_memory
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0
    with web.connect() as connection:
        connection.sendall(HEAD + JSON + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 300_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
            connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it had enough of us: the answer lies in our receive buffer
        answer = read_one(connection)

    assert_refused(answer, status=413, code="body_too_large")
    assert web.peak_memory - before < 20_000_000


def test_a_header_over_16_kb_is_431(web: Web) -> None:
    answer = web.ask(HEAD + b"X-Long: " + b"x" * MAX_HEADERS + b"\r\n\r\n")

    assert_refused(answer, status=431, code="headers_too_large")


def test_many_small_headers_over_16_kb_together_are_431(web: Web) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(200))

    assert_refused(web.ask(HEAD + many + b"\r\n"), status=431, code="headers_too_large")


def test_a_token_over_16_kb_is_431(web: Web) -> None:
    answer = web.ask(HEAD + b"Authorization: Bearer " + b"x" * 20_000 + b"\r\n\r\n")

    assert_refused(answer, status=431, code="headers_too_large")


def test_a_header_of_100_kb_is_refused_by_the_server_or_by_us(web: Web) -> None:
    with web.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(HEAD + b"Authorization: Bearer " + b"x" * 100_000 + b"\r\n\r\n")
        answer = connection.recv(65536)

    assert answer.split()[1] in (b"400", b"431")  # as the bytes happened to arrive


def test_nul_in_a_header_is_the_server_s_own_400(web: Web) -> None:
    assert web.ask(HEAD + b"Authorization: Bearer \x00\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json; x*=bogus''%41",
        b"application/json; x*0*=a'b",
        b"application/json\xff",
        b"application/json; x=" + b"y" * 12_000,
    ],
)
def test_a_content_type_that_django_cannot_take_is_415(web: Web, content_type: bytes) -> None:
    answer = web.ask(HEAD + b"Content-Type: " + content_type + b"\r\nContent-Length: 0\r\n\r\n")

    assert_refused(answer, status=415, code="unsupported_media_type")


def test_the_caller_s_request_id_comes_back_from_the_guard_too(web: Web) -> None:
    answer = web.ask(
        HEAD + JSON + b"X-Request-Id: mine-7\r\nContent-Length: 3000000\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )

    assert parsed(answer)[2]["request_id"] == "mine-7"


def test_an_unreadable_query_and_path_are_answers(web: Web) -> None:
    for target in (
        b"/api/v1/%ff%00?a=%ff&%00",
        b"/api/v1/none?" + b"x" * 30_000,
        b"*",
        b"//",
        b"/%",
    ):
        answer = web.ask(
            b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert answer.split()[1] in (b"404", b"400", b"301"), target


def test_a_bad_host_is_400_in_our_shape(web: Web) -> None:
    for host in (b"evil.example", b"\xff", b"a b", b"[::1"):
        answer = web.ask(
            b"GET /api/v1/agent-task HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        )
        status, _, body = parsed(answer)
        assert (status, body["code"]) == (400, "host_not_allowed")


def test_a_client_that_goes_away_in_mid_body_hurts_nobody(web: Web) -> None:
    before = len(web.lines)
    for _ in range(20):
        with web.connect() as connection:
            connection.sendall(HEAD + JSON + b"Content-Length: 1000\r\n\r\n{")

    assert web.ask(UNKNOWN).startswith(b"HTTP/1.1 404 ")
    assert not [line for line in web.lines[before:] if "exception" in line.lower()]


def test_static_files_and_the_docs_page_come_from_here_under_the_strict_policy(web: Web) -> None:
    end = b" HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"

    script = web.ask(b"GET /static/tasks_app/docs.js" + end)
    page = web.ask(b"GET /api/v1/docs" + end)

    assert script.startswith(b"HTTP/1.1 200 ")
    assert b"SwaggerUIBundle({" in script
    assert page.startswith(b"HTTP/1.1 200 ")
    assert b"default-src 'none'" in page
    assert not [line for line in web.lines if "Warning" in line]


def test_uvicorn_s_own_access_lines_are_silent_and_ours_hold_no_query(web: Web) -> None:
    web.ask(
        b"GET /api/none?token=query-canary HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )

    written = "\n".join(web.lines)
    assert '"path": "/api/none"' in written
    assert "query-canary" not in written


def test_a_database_that_cannot_be_opened_is_503_and_its_address_is_not_logged(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "secret-canary"
    folder.mkdir()
    with running_web(database=f"sqlite:///{folder / 'none.sqlite3'}") as away:
        shutil.rmtree(folder)
        status, headers, body = parsed(away.ask(HEAD + b"Connection: close\r\n\r\n"))

    assert (status, body["code"], headers["retry-after"]) == (503, "database_unavailable", "5")
    assert "canary" not in "\n".join(away.lines)
