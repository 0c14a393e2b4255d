"""Looking names up for a caller who cannot wait long: the system's resolver has no limit of time.

A name server that never answers costs a look-up half a minute, and whoever submits an address
chooses the name server. So a look-up runs on a thread of its own, there are few of them at once,
and the caller waits for a moment only.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future

SECONDS = 2.0  # that a caller waits
MAX_CONCURRENT = 4  # look-ups at once in one process; more are not begun

_places = threading.BoundedSemaphore(MAX_CONCURRENT)


class NotLookedUp(Exception):
    """The resolver did not answer in time, or too many look-ups are waiting for it."""


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of `host`.

    Raises OSError or UnicodeError where it has none, and NotLookedUp.
    """
    if not _places.acquire(blocking=False):
        raise NotLookedUp
    found: Future[list[str]] = Future()
    threading.Thread(target=_run, args=(host, port, found), daemon=True).start()
    try:
        return found.result(SECONDS)
    except TimeoutError:
        raise NotLookedUp from None


def _run(host: str, port: int, found: Future[list[str]]) -> None:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found.set_result([str(each[4][0]) for each in answers])
    except (OSError, UnicodeError) as error:
        found.set_exception(error)
    finally:
        _places.release()
