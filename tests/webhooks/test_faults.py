"""Why a message was not taken: each cause has a sentence of its own, in the row and in the log."""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks_app.models import WebhookDelivery
from tasks_app.webhooks import client as post_module
from tasks_app.webhooks.client import post
from tasks_app.worker.database import Database
from tests.support.webhook_rows import a_delivery
from tests.webhooks.conftest import LOOPBACK, Clocked, Receiver, listening
from tests.webhooks.test_guard import NOW, a_message


async def error_of(url: str) -> str:
    outcome = await post(message=a_message(url), guard=LOOPBACK, now=NOW)
    assert outcome.status is None
    return outcome.error


Behave = Callable[[socket.socket], None]


def close(connection: socket.socket) -> None:
    """Answer nothing."""


def reset(connection: socket.socket) -> None:
    """Break the connection off, as a process that is killed does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answer_plainly(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def read_request(connection: socket.socket) -> None:
    """Read until a pause: bytes that were left unread would turn an end into a reset."""
    connection.recv(65_536)
    connection.settimeout(0.3)
    with suppress(TimeoutError):
        while connection.recv(65_536):
            pass
    connection.settimeout(None)


@contextmanager
def serving(*, behave: Behave = close, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Accept one connection, read what comes first, and do one thing with it.

    With a context it speaks TLS.
    """
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            if context is not None:
                context.wrap_socket(connection, server_side=True)
            read_request(connection)
            behave(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        thread.join(10)
        server.close()


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


async def test_a_port_where_nobody_listens() -> None:
    async with listening(Receiver()) as gone:
        port = gone.port
    assert await error_of(f"http://127.0.0.1:{port}/") == "Could not connect: connection refused."
    assert await error_of(f"https://127.0.0.1:{port}/") == "Could not connect: connection refused."


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    error = await error_of("https://nowhere.example/")
    assert error == "Could not connect: the name does not resolve."


async def test_a_certificate_that_nobody_vouches_for(self_signed: ssl.SSLContext) -> None:
    with serving(context=self_signed) as port:
        error = await error_of(f"https://127.0.0.1:{port}/")
    assert error == "The TLS certificate is not trusted: self-signed certificate."


async def test_a_receiver_that_speaks_no_tls() -> None:
    with serving(behave=answer_plainly) as port:
        error = await error_of(f"https://127.0.0.1:{port}/")
    assert error == "The address does not speak TLS. Use http://, or another port."


async def test_a_receiver_that_answers_something_else() -> None:
    with serving(behave=lambda connection: connection.sendall(b"220 mail.example\r\n\r\n")) as port:
        assert await error_of(f"http://127.0.0.1:{port}/") == "The answer was not HTTP."


@pytest.mark.parametrize(
    ("behave", "scheme", "sentence"),
    [
        (close, "http", "The connection was closed before an answer came."),
        (close, "https", "The connection was closed before TLS was agreed on."),
        (reset, "http", "The connection was reset before an answer came."),
        (reset, "https", "The connection was reset before TLS was agreed on."),
    ],
)
async def test_a_connection_that_ends_without_an_answer(
    behave: Behave, scheme: str, sentence: str
) -> None:
    with serving(behave=behave) as port:
        assert await error_of(f"{scheme}://127.0.0.1:{port}/") == sentence


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [
        ("http", "No answer within 0.5 seconds."),
        ("https", "Connected, but TLS was not agreed on within 0.5 seconds."),
    ],
)
async def test_a_receiver_that_accepts_and_says_nothing(
    scheme: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "DEADLINE", 0.5)
    done = threading.Event()

    def stay_silent(_: socket.socket) -> None:
        done.wait(30)

    with serving(behave=stay_silent) as port:
        try:
            assert await error_of(f"{scheme}://127.0.0.1:{port}/") == sentence
        finally:
            done.set()


async def test_the_sentence_stands_in_the_row_and_in_the_log(
    database: Database, clocked: Clocked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with listening(Receiver()) as gone:
        port = gone.port
    delivery = await database.run(a_delivery, f"http://127.0.0.1:{port}/hook?secret=1")
    await clocked.round(later=1)

    row = await database.run(WebhookDelivery.objects.get, pk=delivery.pk)
    assert row.last_error == "Could not connect: connection refused."
    assert "Could not connect: connection refused." in caplog.text
    assert "secret=1" not in caplog.text
