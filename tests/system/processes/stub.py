"""An engine that only says what it is told. `STUB` in the environment chooses how it behaves.

`dies`: it fails to start. `hangs`: it ignores a drain. `stuck`: it ignores an abort too.
`leaves`: it ends by itself when it is rung.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress


class Engine:
    def __init__(self, *, quarantine: bool) -> None:
        self._behaviour = os.environ.get("STUB", "")
        self._ended = threading.Event()
        self._code = 0

    def start(self) -> None:
        if self._behaviour == "dies":
            raise RuntimeError("the stub does not start")
        assert threading.current_thread() is threading.main_thread()
        say("started")

    def wake(self) -> None:
        say("rung", f"{time.time():.6f}")
        if self._behaviour == "leaves":
            self._end(3)

    def drain(self) -> None:
        say("draining")
        if self._behaviour not in ("hangs", "stuck"):
            self._end(0)

    def abort(self) -> None:
        say("aborting")
        if self._behaviour != "stuck":
            self._end(71)

    def join(self, timeout: float | None) -> int | None:
        return self._code if self._ended.wait(timeout) else None

    def _end(self, code: int) -> None:
        self._code = code
        self._ended.set()


def say(*words: str) -> None:
    line = " ".join(("stub", str(os.getpid()), *words))
    os.write(2, (line + "\n").encode())  # in one piece, whoever else writes


def install(engine: Engine) -> None:
    """Nobody asks for it."""


def never_ends() -> None:
    """A job that swallows its timeout, as a broad `except` or a C extension would."""
    while True:
        with suppress(BaseException):
            time.sleep(90)
