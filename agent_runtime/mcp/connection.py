"""One server within one run: its session, its tools, its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import stamina
import structlog

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.cache import CatalogueCache
from agent_runtime.mcp.catalogue import Catalogue, ListedTool, list_catalogue
from agent_runtime.mcp.errors import (
    AWAY,
    RETRYABLE,
    UNCONNECTED,
    Answered,
    Exchange,
    NoResponse,
    ToolServerFailure,
)
from agent_runtime.mcp.results import render_error, render_result
from agent_runtime.mcp.session import ProtocolInfo, Session
from agent_runtime.mcp.telling import call_failed, state_after
from agent_runtime.messages import Permission, ToolResult
from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.net.scrubber import Scrubber
from agent_runtime.ports import ServerState

LIST_SECONDS = 30.0  # for listing one server's tools, connecting included
SHORT_TRIES = 3  # the first and two more
SHORT_WAITS = {"wait_initial": 0.1, "wait_max": 1.0, "wait_jitter": 0.2}
SPARE_SECONDS = 5.0  # that the transport waits longer than the call, so that the call decides
SESSION_BREAKING = frozenset(
    {
        ToolServerFailure.DEADLINE,
        ToolServerFailure.DISCONNECTED,
        ToolServerFailure.MALFORMED,
        ToolServerFailure.SESSION_UNCLEAR,
    }
)
POSSIBLY_OLD = frozenset(
    {ToolServerFailure.REJECTED, ToolServerFailure.MALFORMED}
)  # what the old transport answers
BAD_REQUEST = 400
UNAUTHORIZED = 401

# How the Python SDK answers any request before `initialize`, and hardly another.
NOT_INITIALIZED = "invalid request parameters"

LISTED_AGAIN = RETRYABLE | {ToolServerFailure.SESSION_GONE}

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Sending:
    """One call on its way; `exchange` is that of the latest try."""

    tool: str
    arguments: Mapping[str, Any]
    key: str
    repeatable: bool
    exchange: Exchange = field(default_factory=Exchange)
    session_replaced: bool = False

    def worth_a_try(self, error: Exception) -> bool:
        """Tell whether a fault may pass, and another try does no harm."""
        passing = isinstance(error, NoResponse) and error.fault in RETRYABLE
        return passing and (self.repeatable or not self.exchange.sent)


class Connection:
    """One server as one user reaches it. Sessions are opened on first use and replaced."""

    def __init__(
        self,
        *,
        access: ServerAccess,
        guard: AddressGuard,
        call_timeout: float,
        catalogues: CatalogueCache,
        scrubber: Scrubber,
    ) -> None:
        self.access = access
        self._guard = guard
        self._call_timeout = call_timeout
        self._catalogues = catalogues
        self._scrubber = scrubber
        self._catalogue: Catalogue | None = None
        self._sessions: list[Session] = []  # the last one is in use, the others are ending
        self._connecting = asyncio.Lock()
        self._lost_session = False
        self.is_away = False
        self.state = ServerState(
            name=access.name, problem=access.problem, needs_credential=access.needs_credential
        )

    @property
    def tools(self) -> Mapping[str, ListedTool]:
        """The tools that this run may see, by the server's names for them."""
        found = self._catalogue.tools if self._catalogue else {}
        return {name: tool for name, tool in found.items() if self.permits(name)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know of the list of tools."""
        return self._catalogue.notes if self._catalogue else ()

    def permits(self, tool: str) -> bool:
        """Return True when the tool runs without a person's word."""
        permission = self.access.permissions.get(tool, Permission.ALWAYS_EXECUTE)
        return permission is Permission.ALWAYS_EXECUTE

    async def open(self) -> None:
        """Fetch the catalogue, from the cache or the server; a fault ends up in `state`.

        `is_away` says that the fault may pass and another try is worth it later.
        """
        if self.access.problem:
            return
        try:
            async with asyncio.timeout(min(LIST_SECONDS, self._call_timeout)):
                self._catalogue = await self._catalogues.get(
                    key=self.access.catalogue_key, make=self._list
                )
        except TimeoutError:
            self._note(NoResponse(ToolServerFailure.DEADLINE))
        except NoResponse as error:
            self._note(error)
        else:
            self.is_away = False
            self.state = ServerState(name=self.access.name)

    async def call(
        self, *, tool: str, arguments: Mapping[str, Any], key: str, repeatable: bool
    ) -> ToolResult:
        """Send one call and return what came of it, within the run's deadline for calls.

        1. Connect if there is no session; send; wait.
        2. A server that does not know the session did not look at the call: it is sent once
           more, in a new one. So it is after a 401 in a session, which may mean the same.
        3. A fault that may pass is tried again, twice, if nothing was sent or the call is
           repeatable.
        4. A fault after which nobody knows whether the call was carried out is an unknown
           outcome, unless the call is repeatable; any other fault is a failure.
        """
        sending = _Sending(tool=tool, arguments=arguments, key=key, repeatable=repeatable)
        try:
            async with asyncio.timeout(self._call_timeout):
                result = await self._with_tries(sending)
        except TimeoutError:
            self._retire()
            return self._failure(NoResponse(ToolServerFailure.DEADLINE), sending)
        except NoResponse as error:
            if error.fault in UNCONNECTED:
                self._note(error)
            return self._failure(error, sending)
        except Answered as answered:
            return render_error(message=answered.error.message, scrubber=self._scrubber)
        self.state = ServerState(name=self.access.name)
        return render_result(result=result, scrubber=self._scrubber)

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(each.close() for each in self._sessions))
        self._sessions.clear()

    async def _with_tries(self, sending: _Sending) -> Any:
        async for attempt in stamina.retry_context(
            on=sending.worth_a_try, attempts=SHORT_TRIES, **SHORT_WAITS
        ):
            with attempt:
                return await self._in_a_session(sending)
        raise AssertionError("the last try returns or raises")

    async def _in_a_session(self, sending: _Sending) -> Any:
        """Send the call; once more, when its session was lost and it was not looked at."""
        try:
            return await self._once(sending)
        except NoResponse as error:
            refused = sending.exchange.status == UNAUTHORIZED and sending.exchange.in_session
            lost = error.fault is ToolServerFailure.SESSION_GONE
            if sending.session_replaced or not (lost or refused):
                raise
            sending.session_replaced = True
            if error.fault is ToolServerFailure.SESSION_UNCLEAR:
                await self._session()  # is it the credential? The call itself stays in doubt
                raise
        sending.exchange.reset()
        return await self._once(sending)

    async def _once(self, sending: _Sending) -> Any:
        sending.exchange.reset()
        exchange = sending.exchange
        session = await self._session()
        try:
            return await session.call_tool(
                name=sending.tool,
                arguments=sending.arguments,
                key=sending.key,
                exchange=exchange,
            )
        except NoResponse as error:
            if error.fault is ToolServerFailure.SESSION_GONE or exchange.status == UNAUTHORIZED:
                self._lost_session = True
                session.retire()
            elif error.fault in SESSION_BREAKING or exchange.status == BAD_REQUEST:
                session.retire()
            raise
        except Answered as answered:
            unhappy = exchange.status >= BAD_REQUEST  # the HTTP side too: begin anew
            if unhappy or answered.error.message.lower() == NOT_INITIALIZED:
                session.retire()
            raise

    async def _session(self) -> Session:
        """Return a session that takes requests, opened if need be. Raises NoResponse."""
        async with self._connecting:
            self._sessions = [each for each in self._sessions if not each.ended]
            if not self._sessions or self._sessions[-1].retired:
                known = self._catalogue.protocol if self._catalogue else None
                await self._connect(None if self._lost_session else known)
                self._lost_session = False
            return self._sessions[-1]

    async def _connect(self, era: ProtocolInfo | None) -> ProtocolInfo:
        session = Session(
            access=self.access,
            guard=self._guard,
            time_limit=self._call_timeout + SPARE_SECONDS,
            era=era,
        )
        self._sessions.append(session)
        try:
            found = await session.open()
        except NoResponse as error:
            if era is None:
                raise await self._if_old(session, error) from None
            self._catalogues.drop(key=self.access.catalogue_key)
            return await self._connect(None)  # it may speak another protocol by now
        if self._catalogue is not None:
            session.expect_headers(self._catalogue.header_maps)
        return found

    async def _if_old(self, session: Session, error: NoResponse) -> NoResponse:
        """Return the fault of opening a session, or that the server has the old transport."""
        if error.fault in POSSIBLY_OLD and await session.speaks_old_transport():
            return NoResponse(ToolServerFailure.OLD_TRANSPORT)
        return error

    async def _list(self) -> Catalogue:
        """List the tools; once more after a fault that may pass. A part is better than none."""
        part: Catalogue | None = None
        try:
            async for attempt in stamina.retry_context(
                on=_may_pass, attempts=SHORT_TRIES - 1, **SHORT_WAITS
            ):
                with attempt:
                    part = await self._list_once()
                    if attempt.num == 1 and part.cut_by in LISTED_AGAIN:
                        raise NoResponse(part.cut_by)
        except NoResponse:
            if part is None:
                raise
        assert part is not None
        return part

    async def _list_once(self) -> Catalogue:
        era = await self._connect(None)
        session = self._sessions[-1]
        try:
            catalogue = await list_catalogue(
                server=self.access.name, session=session, era=era, scrubber=self._scrubber
            )
        except BaseException:
            session.retire()
            raise
        if catalogue.cut_by is not None:
            session.retire()
        session.expect_headers(catalogue.header_maps)
        return catalogue

    def _retire(self) -> None:
        if self._sessions:
            self._sessions[-1].retire()

    def _note(self, error: NoResponse) -> None:
        self.is_away = error.fault in AWAY
        self.state = state_after(error, access=self.access, scrubber=self._scrubber)
        log.warning(
            "server_unusable",
            server=self.access.name,
            url=self.access.url,
            fault=error.fault.value,
            detail=self.state.detail,
        )

    def _failure(self, error: NoResponse, sending: _Sending) -> ToolResult:
        return call_failed(
            error,
            tool=sending.tool,
            access=self.access,
            in_doubt=sending.exchange.sent and not sending.repeatable,
            scrubber=self._scrubber,
        )


def _may_pass(error: Exception) -> bool:
    return isinstance(error, NoResponse) and error.fault in LISTED_AGAIN
