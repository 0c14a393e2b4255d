"""What a stranger may send before anybody knows who it is, on a real server."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.web_process import Answer, Web, answers, read_all, running_web

GET = b"GET /api/none HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/none HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MAX_SENT = 40_000_000  # bytes; a server without limits takes them all
MAX_KEPT = 20_000_000


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A web process without a database of ours."""
    with running_web() as running:
        yield running


def flood(web: Web, start: bytes, again: bytes) -> tuple[bytes, int]:
    """Send `start`, then `again` until there is an answer; return it and the bytes sent before."""
    piece = again * max(1, 65_536 // len(again))
    sent = 0
    with web.connect() as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(start)
            while sent < MAX_SENT and not select.select([connection], [], [], 0)[0]:
                connection.sendall(piece)
                sent += len(piece)
        connection.settimeout(5)
        return read_all(connection), sent


@pytest.mark.parametrize(
    ("start", "again", "status", "code"),
    [
        (b"GET /", b"x", 414, "address_too_long"),
        (b"GET /?", b"x=y&", 414, "address_too_long"),
        (GET + b"X: ", b"x", 431, "headers_too_large"),
        (GET + b"X: y", b" ", 431, "headers_too_large"),
        (GET, b"a: b\r\n", 431, "headers_too_large"),
        (GET, b"a:\r\n", 431, "headers_too_large"),
        (GET, b"x", 431, "headers_too_large"),
        (b"", b"\r\n", 400, "bad_request"),
        (CHUNKED + b"0\r\n", b"a: b\r\n", 431, "headers_too_large"),
        (CHUNKED + b"1\r\nx\r\n0\r\nX: y\r\nZ: ", b"x", 431, "headers_too_large"),
        (CHUNKED + b"1;x=", b"y", 400, "bad_request"),
        (CHUNKED, b"0", 400, "bad_request"),
    ],
    ids=[
        "path",
        "query",
        "header value",
        "spaces after a value",
        "header lines",
        "empty headers",
        "header name",
        "blank lines",
        "trailer lines",
        "trailer value",
        "chunk extension",
        "chunk size",
    ],
)
def test_what_has_no_end_is_ended_early_with_flat_memory(
    web: Web, start: bytes, again: bytes, status: int, code: str
) -> None:
    before = web.peak_memory

    raw, sent = flood(web, start, again)

    [answer] = answers(raw)
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)
    assert answer.headers["connection"] == "close"
    assert sent < MAX_SENT
    assert web.peak_memory - before < MAX_KEPT


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (b"GET /" + b"x" * 32_000, 414, "address_too_long"),
        (GET + b"X: " + b"x" * 16_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (GET + b"a: b\r\n" * 100 + b"\r\n", 431, "headers_too_large"),
        (CHUNKED + b"0\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, "http_version_not_supported"),
        (b"GET /\r\n\r\n", 505, "http_version_not_supported"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method_not_allowed"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "not_implemented"),
        (
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, "bad_request"),
        (
            POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "bad_request",
        ),
        (CHUNKED + b"1\r\nxx\r\n0\r\n\r\n", 400, "bad_request"),
        (CHUNKED + b"-1\r\n\r\n", 400, "bad_request"),
    ],
)
def test_a_request_that_is_not_served_gets_one_answer_and_the_end(
    web: Web, request_: bytes, status: int, code: str
) -> None:
    [answer] = answers(web.ask(request_ + GET + b"\r\n"))

    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == json.loads(answer.body)["request_id"]


def test_a_refusal_has_the_form_and_the_id_that_were_asked_for_before_it(web: Web) -> None:
    [answer] = answers(
        web.ask(
            GET + b"Accept: application/problem+json\r\nX-Request-Id: mine-7\r\n"
            b"X: " + b"x" * 16_000 + b"\r\n\r\n"
        )
    )

    body = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (body["status"], body["instance"], body["request_id"]) == (431, "/api/none", "mine-7")


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"x" * 15_900 + b"\r\n",
        GET + b"a: b\r\n" * 98,
        b"GET /api/none?" + b"x" * 31_000 + b" HTTP/1.1\r\nHost: localhost\r\n",
    ],
)
@pytest.mark.parametrize("at_once", [1_000_000, 1_448, 997])
def test_what_is_within_the_limits_is_served_however_it_arrives(
    web: Web, head: bytes, at_once: int
) -> None:
    request_ = head + b"Connection: close\r\n\r\n"
    with web.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request_), at_once):
            connection.sendall(request_[start : start + at_once])
        [answer] = answers(read_all(connection))

    assert answer.status == 404


SMUGGLED = GET + b"X-Request-Id: smuggled\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize(
    "offer",
    [
        H2C,
        b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
        b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        b"Upgrade: foo, bar/2\r\nConnection: keep-alive, upgrade\r\n",
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_an_upgrade_is_ignored_and_the_body_is_no_request(
    web: Web, offer: bytes, chunked: bool, cut: bool
) -> None:
    framing = (
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
        if chunked
        else b"Content-Length: %d\r\n\r\n%s" % (len(SMUGGLED), SMUGGLED)
    )
    first = POST + b"X-Request-Id: first\r\n" + offer + framing
    last = GET + b"X-Request-Id: last\r\nConnection: close\r\n\r\n"
    with web.connect() as connection:
        if cut:
            head, _, body = first.partition(b"\r\n\r\n")
            connection.sendall(head + b"\r\n\r\n")
            time.sleep(0.05)
            first = body
        connection.sendall(first + last)
        got = answers(read_all(connection))

    assert [(each.status, each.request_id) for each in got] == [(404, "first"), (404, "last")]


def test_a_get_that_offers_an_upgrade_is_an_ordinary_get(web: Web) -> None:
    [answer] = answers(web.ask(GET + b"X-Request-Id: a\r\nConnection: close\r\n" + H2C + b"\r\n"))

    assert (answer.status, answer.request_id) == (404, "a")


def test_trailers_are_dropped(web: Web) -> None:
    trailers = (
        b"X-Request-Id: from-a-trailer\r\nHost: evil.example\r\nContent-Type: x; y*=z''%41\r\n"
        b"Authorization: Bearer x\r\nX-Forwarded-Proto: https\r\n"
    )
    [answer] = answers(
        web.ask(
            POST + b"Connection: close\r\nX-Request-Id: from-the-head\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + trailers + b"\r\n"
        )
    )

    assert (answer.status, answer.request_id) == (404, "from-the-head")


def test_no_header_of_http_1_0_makes_a_chunked_answer(web: Web) -> None:
    raw = web.ask(
        b"GET /static/tasks_app/docs.js HTTP/1.0\r\nHost: localhost\r\n"
        b"X-Forwarded-Proto: https\r\n\r\n"
    )

    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"SwaggerUIBundle({" in body


def test_requests_in_one_piece_are_answered_in_their_order_until_there_are_too_many(
    web: Web,
) -> None:
    def many(count: int) -> list[str]:
        heads = [GET + b"X-Request-Id: %d\r\n" % number for number in range(count)]
        sent = b"\r\n".join(heads) + b"Connection: close\r\n\r\n"
        return [each.request_id for each in answers(web.ask(sent))]

    few = many(12)
    before = web.peak_memory
    got = many(9_000)

    assert few == [str(number) for number in range(12)]
    assert got == [str(number) for number in range(len(got))]
    assert 1 < len(got) < 100
    assert web.peak_memory - before < MAX_KEPT


@pytest.mark.parametrize(
    "junk", [b"\x00\x01\r\n\r\n", b"GET /" + b"x" * 40_000, b"POST / HTTP/9\r\n\r\n"]
)
def test_what_follows_a_request_costs_it_neither_its_answer_nor_its_place(
    web: Web, junk: bytes
) -> None:
    [answer] = answers(web.ask(GET + b"X-Request-Id: whole\r\n\r\n" + junk))

    assert (answer.status, answer.request_id) == (404, "whole")


def test_a_compressed_body_is_415_and_says_what_is_taken(web: Web) -> None:
    def sent(encoding: bytes, length: int = 2) -> Answer:
        head = POST + b"Connection: close\r\nContent-Encoding: %s\r\n" % encoding
        return answers(web.ask(head + b"Content-Length: %d\r\n\r\n%s" % (length, b"{}"[:length])))[
            0
        ]

    refused = sent(b"gzip")
    assert (refused.status, refused.headers["accept-encoding"]) == (415, "identity")
    assert json.loads(refused.body)["code"] == "unsupported_content_encoding"
    assert sent(b"identity").status == 404
    assert sent(b"gzip", 0).status == 404


def test_half_of_anything_is_not_kept_for_long(web: Web) -> None:
    """An idle connection, half a head, half a body, and answers that nobody reads."""
    bundle = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    wanted = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % bundle
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        idle, blank, head, body, slow = (stack.enter_context(web.connect()) for _ in range(5))
        blank.sendall(b"\r\n")
        head.sendall(GET)
        body.sendall(POST + b"Content-Length: 100\r\n\r\n{")
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", web.port))
        deaf.sendall(wanted * 12)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(120):  # a byte now and then is no excuse
                slow.sendall(b"\r" if _ % 2 else b"\n")
                time.sleep(0.1)
                if time.monotonic() - begun > 90:
                    break
        idle.settimeout(60)
        assert read_all(idle) == b""
        assert read_all(blank) == b""
        [late_head], [late_body] = answers(read_all(head)), answers(read_all(body))
        assert (late_head.status, late_body.status) == (408, 408)
        assert json.loads(late_body.body)["code"] == "request_timeout"
        while time.monotonic() - begun < 40:
            time.sleep(0.5)
        deaf.settimeout(30)
        assert len(read_all(deaf)) < 12 * 1_000_000
    assert web.ask(GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 404 ")
