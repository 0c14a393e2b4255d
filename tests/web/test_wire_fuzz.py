"""Thousands of odd requests on the wire: heads, trailers, bodies and chunks.

Each run takes another sample, whose seed is printed: `CAYLEX_FUZZ_SEED` repeats it, and
`CAYLEX_FUZZ_SAMPLE` makes it larger.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.support.cluster import database_url
from tests.support.web_process import Web, running_web

SAMPLE = int(os.environ.get("CAYLEX_FUZZ_SAMPLE", "1000"))
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]
PATIENCE = 15.0  # seconds, after which the sample ends
MAX_KEPT = 30_000_000
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Z]")
PATHS = ("/healthz", "/api/v1/agent-task", "/admin/login/", "/api/v1/docs", "/static/x", "/%00")
ODD = (
    *(
        "",
        " ",
        "\t",
        "x",
        "-1",
        "+5",
        "0x10",
        "1e3",
        "5, 5",
        "chunked",
        "gzip, chunked",
        "identity",
    ),
    *(
        "h2c",
        "websocket",
        "100-continue",
        "localhost",
        "evil.example:99999",
        "[::1",
        "\x00",
        "\x7f",
    ),
    *("é", "a" * 5_000, "a" * 20_000, "Bearer x", "application/json", "text/html;q=\x0b", "*/*"),
)
NAMES = (
    *("Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Accept"),
    *("Content-Type", "Content-Encoding", "Authorization", "Cookie", "If-None-Match", "Trailer"),
    *(
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "Idempotency-Key",
        "X-Request-ID",
        "TE",
        "Last-Event-ID",
    ),
    *("HTTP2-Settings", "Sec-WebSocket-Key", "X y", ":path", "", "X\x00", "Range", "Origin"),
)


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    """A web process on the test's database."""
    with running_web(database=database_url()) as process:
        yield process


def head(rng: random.Random) -> list[str]:
    """Return a request line and headers, most of them usual."""
    method = rng.choice(("GET", "POST", "POST", "POST", "PUT", "HEAD2", "OPTIONS", "PATCH", "é"))
    path = rng.choice(PATHS) + rng.choice(
        ("", "", "?" + rng.choice(ODD), "?a=" * rng.randint(1, 99))
    )
    version = rng.choice(("1.1",) * 8 + ("1.0", "0.9", "2.0", "x"))
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    for _ in range(rng.choice((0, 0, 1, 2, 5, 120))):
        ending = rng.choice(("",) * 9 + (" ", "\r\n folded"))
        lines.append(f"{rng.choice(NAMES)}:{rng.choice(('', ' '))}{rng.choice(ODD)}{ending}")
    return lines


def chunks(rng: random.Random) -> bytes:
    """Return a chunked body, with faults in some places."""
    parts = []
    for _ in range(rng.randint(0, 4)):
        data = rng.randbytes(rng.choice((0, 1, 7, 3_000)))
        size = rng.choice((f"{len(data):x}",) * 9 + (f"{len(data) + 1:X}", "-1", "g", "", "f" * 30))
        extension = rng.choice(("",) * 5 + (";a=b", ";" + "x" * 20_000, ' ;a="\r\n"'))
        parts.append(f"{size}{extension}\r\n".encode("latin-1") + data + b"\r\n")
    parts.append(rng.choice((b"0\r\n",) * 5 + (b"00\r\n", b"0;x\r\n", b"")))
    for _ in range(rng.choice((0, 0, 1, 3, 150))):
        parts.append(f"{rng.choice(NAMES)}: {rng.choice(ODD)}\r\n".encode("latin-1"))
    return b"".join(parts) + b"\r\n"


def body(rng: random.Random) -> bytes:
    """Return a body: JSON, broken JSON or bytes."""
    return rng.choice(
        (
            b"",
            b"{}",
            b'{"prompt": "\\u0000"}',
            b"[" * rng.choice((1, 70, 100_000)),
            b'{"a":' * rng.choice((1, 70, 10_000)),
            b"[" + b"0," * rng.choice((10, 400_000)) + b"0]",
            rng.randbytes(rng.choice((1, 100, 10_000))),
            b"x" * rng.choice((1_499_999, 1_500_001, 3_000_000)),
        )
    )


def one(rng: random.Random) -> bytes:
    """Return the bytes of one request; there are never two in them."""
    lines = [*head(rng), "Connection: close", f"Authorization: {rng.choice(ODD)}"]
    if rng.random() < 0.5:
        content = chunks(rng)
        lines.append("Transfer-Encoding: chunked")
    else:
        content = body(rng)
        length = len(content) + rng.choice((0,) * 9 + (-len(content),))
        lines.append(f"Content-Length: {length}")
    rng.shuffle(tail := lines[1:])
    return "\r\n".join([lines[0], *tail]).encode("latin-1") + b"\r\n\r\n" + content


def asked(web: Web, request: bytes) -> Sequence[int]:
    """Send the request and no more, and return the statuses of all answers but 100."""
    with web.connect() as connection:
        connection.settimeout(40)
        try:
            connection.sendall(request)
            connection.shutdown(1)
        except OSError:
            pass  # it was refused before all was sent
        raw = b""
        while True:
            try:
                part = connection.recv(65_536)
            except ConnectionResetError:
                break
            if not part:
                break
            raw += part
    return [int(each) for each in STATUS.findall(raw) if each != b"100"]


def test_no_odd_request_is_a_server_error_has_two_answers_or_takes_memory(web: Web) -> None:
    seed = os.environ.get("CAYLEX_FUZZ_SEED") or secrets.token_hex(4)
    print(f"CAYLEX_FUZZ_SEED={seed}")
    rng = random.Random(seed)
    for _ in range(50):
        asked(web, one(rng))
    before, end, done = web.peak_memory, time.monotonic() + PATIENCE * max(1, SAMPLE / 1000), 0
    while done < SAMPLE and time.monotonic() < end:
        request = one(rng)
        found = asked(web, request)
        assert len(found) <= 1, request[:2_000]
        assert not found or found[0] < 500 or found[0] in (501, 503, 505), (found, request[:2_000])
        done += 1

    assert done > 100
    assert web.peak_memory - before < MAX_KEPT
    assert web.ask(
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ).startswith(b"HTTP/1.1 200 ")
    assert not [line for line in web.lines if "Traceback" in line]
