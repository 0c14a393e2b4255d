"""A proxy that cuts connections in the middle of an answer, for clients that have to go on."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Cutting:
    """Passes on bytes; of the first `cuts` streams only some hundred bytes each."""

    def __init__(self, port: int, *, cuts: int, seed: int) -> None:
        self.cuts = cuts
        self.done = 0
        self._port = port
        self._chance = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(("127.0.0.1", self._port)) as service:
            threading.Thread(target=self._answer, args=(service, caller), daemon=True).start()
            self._streams = False
            while part := _received(caller):
                self._streams = b"text/event-stream" in part
                service.sendall(part)
            _end(service)

    def _answer(self, service: socket.socket, caller: socket.socket) -> None:
        left: int | None = None
        while part := _received(service):
            if left is None and self._streams and self.done < self.cuts:
                self.done += 1
                left = self._chance.randrange(300, 1200)
            if left is not None:
                part, left = part[:left], left - len(part)
            try:
                caller.sendall(part)
            except OSError:
                break
            if left is not None and left <= 0:
                break
        _end(caller)
        _end(service)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(port: int, *, cuts: int, seed: int) -> Iterator[Cutting]:
    """Stand before a service on the loopback."""
    proxy = Cutting(port, cuts=cuts, seed=seed)
    try:
        yield proxy
    finally:
        proxy.close()
