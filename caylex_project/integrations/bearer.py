"""The access token of one OAuth credential, renewed for the runs that send it."""

from __future__ import annotations

import asyncio
import datetime
import time
import uuid

from django.db import connections

from agent_runtime.errors import CredentialNeeded, RenewalFailed
from caylex_project.db.clock import clock
from caylex_project.integrations.models import Credential
from caylex_project.integrations.oauth_tokens import Tokens
from caylex_project.integrations.renewal import InThread, Renewed, Work, is_due, renew

REFUSED_AGAIN = 60.0  # seconds: a token so young that is refused is not renewed


async def in_a_thread(work: Work) -> object:
    """Run a function that uses the database on a thread of its own connection."""

    def run() -> object:
        try:
            return work()
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


class CredentialBearer:
    """`access.Bearer` for one credential's row; belongs to one event loop.

    A renewal is never cancelled: the authorization server may have rotated the refresh token.
    """

    def __init__(self, *, row: Credential, tokens: Tokens, in_thread: InThread) -> None:
        self._id: uuid.UUID = row.pk
        self._version = row.version
        self._expires_at = row.expires_at
        age = (clock.now() - row.updated_at).total_seconds()
        self._issued = time.monotonic() - age
        self._in_thread = in_thread
        self._renewing: asyncio.Task[Renewed] | None = None
        self.seen: tuple[str, ...] = (tokens.access,)

    async def token(self, *, refused: str = "") -> str:
        """Return a token to send now; after a 401, a newer one than `refused` if there is one.

        A token that was issued a moment ago and is refused is returned again: renewing it would
        repeat for as long as the server refuses every token.
        """
        current = self.seen[-1]
        if refused:
            young = time.monotonic() - self._issued < REFUSED_AGAIN
            return current if current != refused or young else await self._renewed(needed=True)
        if not is_due(self._expires_at, clock.now()):
            return current
        return await self._renewed(needed=self._has_ended())

    async def close(self) -> None:
        """Wait for a renewal under way."""
        if self._renewing is not None:
            await asyncio.wait({self._renewing})

    async def _renewed(self, *, needed: bool) -> str:
        """Return the renewed token, or the old one while it is not `needed`."""
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        found = await asyncio.shield(self._renewing)
        if found.access:
            return self.seen[-1]
        if found.final:
            raise CredentialNeeded(found.problem)
        if needed:
            raise RenewalFailed(found.problem)
        return self.seen[-1]

    async def _renew(self) -> Renewed:
        try:
            found = await renew(self._id, seen_version=self._version, in_thread=self._in_thread)
        finally:
            self._renewing = None
        if found.access:
            self._version, self._expires_at = found.version, found.expires_at
            self._issued = time.monotonic()
            if found.access not in self.seen:
                self.seen = (*self.seen, found.access)
        return found

    def _has_ended(self) -> bool:
        now: datetime.datetime = clock.now()
        return self._expires_at is not None and now >= self._expires_at
