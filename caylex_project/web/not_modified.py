"""Polls that would change nothing: 304 without asking Django again."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from contextlib import ExitStack
from dataclasses import dataclass

import structlog

from caylex_project.web.app_client import REQUEST_ID, AppClient, AppResponse
from caylex_project.web.change_hub import ChangeHub, Watch
from caylex_project.web.http_problem import request_id_for
from caylex_project.web.request_limits import Scope

LIFE = 5.0  # seconds after which Django is asked again: the token may have been revoked
MAX_ENTRIES = 2_000  # remembered at once; the listener looks for all of them every second
# What differs from poll to poll and has no bearing on the answer.
_OF_ONE_REQUEST = frozenset({REQUEST_ID, b"traceparent", b"tracestate"})

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    answer: AppResponse
    watch: Watch
    end_of_watch: ExitStack


class NotModifiedCache:
    """Remembers the 304s that Django gave, each for the very same request alone.

    One ends with the first news of its task, which a request to change it is too, and after five
    seconds in any case. None is used while nobody listens for news.
    """

    def __init__(self, client: AppClient, *, hub: ChangeHub) -> None:
        self._client = client
        self._hub = hub
        self._known: dict[bytes, _Known] = {}

    async def poll(self, scope: Scope, *, task_id: uuid.UUID) -> AppResponse:
        """Return the answer to a poll with `If-None-Match`.

        1. The same request had a 304, and nothing speaks against it: that is the answer.
        2. Else watch, and ask: what changes from now on speaks against what is said now.
        3. Remember a 304. Its time has run since before the token was looked at.
        """
        key = _key(scope)
        known = self._known.get(key)
        if known is not None and self._hub.is_live and not known.watch.changed:
            return _again(known.answer, scope)
        until = asyncio.get_running_loop().time() + LIFE
        with ExitStack() as stack:
            watch = stack.enter_context(self._hub.watch(task_id))
            watch.begin()
            answer = await self._client.request(scope)
            if answer.status == 304 and answer.version and not watch.changed:
                watch.mark_seen(answer.version)
                known = _Known(answer=answer, watch=watch, end_of_watch=stack.pop_all())
                self._remember(key, known, until=until)
        return answer

    def _remember(self, key: bytes, known: _Known, *, until: float) -> None:
        self._forget(key)
        if len(self._known) >= MAX_ENTRIES:
            self._forget(next(iter(self._known)))  # the oldest
        self._known[key] = known
        asyncio.get_running_loop().call_at(until, self._forget, key, known)

    def _forget(self, key: bytes, known: _Known | None = None) -> None:
        """Forget what is remembered under the key, if it is `known` where that is given."""
        found = self._known.get(key)
        if found is not None and known in (None, found):
            del self._known[key]
            found.end_of_watch.close()


def _key(scope: Scope) -> bytes:
    """Return a digest of the whole request, so that no token is kept."""
    headers = [each for each in scope["headers"] if each[0] not in _OF_ONE_REQUEST]
    said = repr((scope["path"], scope["query_string"], headers))
    return hashlib.sha256(said.encode()).digest()


def _again(answer: AppResponse, scope: Scope) -> AppResponse:
    """Return the same answer under this request's own id, with a line in the log."""
    sent = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
    request_id = request_id_for(sent.decode("latin-1"))
    logger.info(
        "request", request_id=request_id, method="GET", path=scope["path"], status=answer.status
    )
    return answer.under(request_id.encode("ascii"))
