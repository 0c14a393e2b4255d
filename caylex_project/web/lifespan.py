"""The web process's beginning and end, so that what waits does not hold up the end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from uvicorn import Config

from caylex_project.web.change_hub import ChangeHub
from caylex_project.web.protocol import GuardedProtocol
from caylex_project.web.request_limits import Receive, Send

_NOT_OURS = (
    "Serve this application with uvicorn: no other server applies the limits of its requests "
    "(docs/operations.md)."
)
_ENDS = (signal.SIGTERM, signal.SIGINT)


async def serve_lifespan(receive: Receive, send: Send, *, hub: ChangeHub) -> None:
    """Serve the lifespan: the hub begins and ends with the process.

    A server that cannot be made to use our protocol class does not start.
    """
    await receive()
    if not _enforce(receive):
        await send({"type": "lifespan.startup.failed", "message": _NOT_OURS})
        return
    hub.start()
    with _told_of_the_end(hub.stop):
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await hub.close()
    await send({"type": "lifespan.shutdown.complete"})


def _enforce(receive: Receive) -> bool:
    """Have the uvicorn server that calls us use GuardedProtocol; False where it is another server.

    A server makes a protocol for each connection, and accepts none before we have started.
    """
    config = getattr(getattr(receive, "__self__", None), "config", None)
    if not isinstance(config, Config):
        return False
    config.http_protocol_class = GuardedProtocol
    return True


@contextmanager
def _told_of_the_end(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` as soon as the server is told to end.

    The lifespan's own word comes when every connection is closed, and a stream stays open until
    somebody closes it. So the signals are heard too, and passed on to the server's own handlers.
    """
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Callable[..., Any]] = {}

    def heard(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(stop)
        before[signal.Signals(number)](number, frame)

    if threading.current_thread() is threading.main_thread():
        for each in _ENDS:
            handler = signal.getsignal(each)
            if callable(handler) and handler is not signal.default_int_handler:
                before[each] = handler
                signal.signal(each, heard)
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is heard:
                signal.signal(each, handler)
