"""Whom one run may talk to, and as whom: one value for each connected server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent_runtime.messages import Permission


class Bearer(Protocol):
    """An access token that ends, and is renewed by the service that keeps it."""

    @property
    def seen(self) -> tuple[str, ...]:
        """Every token that was returned so far, to be scrubbed from what comes back."""

    async def token(self, *, refused: str = "") -> str:
        """Return a token to send now; after a 401, a newer one than `refused` if there is one.

        Raises CredentialNeeded where the user has to connect again, RenewalFailed where another
        try may help.
        """

    async def close(self) -> None:
        """Wait for a renewal under way: its answer would be lost. Never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccess:
    """One server as one end user's run reaches it.

    `url` is the template as stored and logged; `headers`, `query` and `path` carry the opened
    credential and are never printed; an access token comes from `bearer`. `secrets` are the
    values to scrub from whatever comes back. A tool without an entry in `permissions` is
    `always_execute`. Where `problem` is not empty the server is not contacted; it is one safe
    sentence for the agent.
    `catalogue_key` names the server instance and the credential, and changes with either.
    `personal` is True where each user connects the server, and not the project.
    `credential_version` changes whenever the credential is stored again.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    path: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    bearer: Bearer | None = field(default=None, repr=False)
    permissions: Mapping[str, Permission] = field(default_factory=dict)
    repeatable: frozenset[str] = frozenset()
    problem: str = ""
    needs_credential: bool = False
    catalogue_key: str = ""
    personal: bool = False
    credential_version: str = ""

    @property
    def has_credential(self) -> bool:
        """True where one goes along with each request."""
        return bool(self.headers or self.query or self.path or self.secrets or self.bearer)
