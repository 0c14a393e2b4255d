"""One server within one run: its session, its tools, its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import mcp_types as types
import stamina
from mcp import MCPError

from agent_runtime.messages import CallState, Permission, ToolResult
from agent_runtime.net import AddressGuard
from agent_runtime.ports import ServerState
from agent_runtime.tools.access import ServerAccess
from agent_runtime.tools.catalogue import Catalogue, CatalogueCache, ListedTool, list_catalogue
from agent_runtime.tools.faults import NOT_DONE, PASSING, SENTENCES, Exchange, Fault, NoAnswer
from agent_runtime.tools.results import render_error, render_result
from agent_runtime.tools.scrub import Scrubber
from agent_runtime.tools.session import Era, Session, ToolAnswer

LIST_SECONDS = 30.0  # for listing one server's tools, connecting included
SHORT_TRIES = 3  # the first and two more
SHORT_WAITS = {"wait_initial": 0.1, "wait_max": 1.0, "wait_jitter": 0.2}
SPARE_SECONDS = 5.0  # that the transport waits longer than the call, so that the call decides
BREAKING = frozenset({Fault.DEADLINE, Fault.CUT, Fault.GARBLED, Fault.TOO_LARGE})


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
        self.state = ServerState(
            name=access.name, problem=access.problem, needs_credential=access.needs_credential
        )

    @property
    def tools(self) -> Mapping[str, ListedTool]:
        """The tools that this run may see, by the server's names for them."""
        found = self._catalogue.tools if self._catalogue else {}
        return {name: tool for name, tool in found.items() if self.permits(name)}

    def permits(self, tool: str) -> bool:
        """Return True when the tool runs without a person's word."""
        permission = self.access.permissions.get(tool, Permission.ALWAYS_EXECUTE)
        return permission is Permission.ALWAYS_EXECUTE

    async def open(self) -> None:
        """Fetch the catalogue, from the cache or the server; a fault ends up in `state`."""
        if self.access.problem:
            return
        try:
            async with asyncio.timeout(min(LIST_SECONDS, self._call_timeout)):
                self._catalogue = await self._catalogues.get(
                    key=self.access.catalogue_key, make=self._list
                )
        except TimeoutError:
            self._note(Fault.DEADLINE)
        except NoAnswer as error:
            self._note(error.fault)

    async def call(
        self, *, tool: str, arguments: Mapping[str, Any], key: str, repeatable: bool
    ) -> ToolResult:
        """Send one call and return what came of it, within the run's deadline for calls.

        1. Connect if there is no session; send; wait.
        2. A fault that may pass is tried again, twice, if nothing was sent or the call is
           repeatable. A server that ended the session did not look at the call.
        3. A fault after which nobody knows whether the call was carried out is an unknown
           outcome, unless the call is repeatable; any other fault is a failure.
        """
        exchange = Exchange()
        try:
            async with asyncio.timeout(self._call_timeout):
                answer = await self._with_tries(tool, arguments, key, repeatable, exchange)
        except TimeoutError:
            self._retire()
            return self._failure(Fault.DEADLINE, tool, repeatable, exchange)
        except NoAnswer as error:
            if error.fault is Fault.CREDENTIAL:
                self._note(error.fault)
            return self._failure(error.fault, tool, repeatable, exchange)
        except MCPError as error:
            return render_error(message=error.message, scrubber=self._scrubber)
        self.state = ServerState(name=self.access.name)
        if isinstance(answer, types.InputRequiredResult):
            return ToolResult(
                text="The tool asks for a person's input, and nobody is there to give it.",
                state=CallState.FAILED,
            )
        return render_result(result=answer, scrubber=self._scrubber)

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(each.close() for each in self._sessions))
        self._sessions.clear()

    async def _with_tries(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        key: str,
        repeatable: bool,
        exchange: Exchange,
    ) -> ToolAnswer:
        def worth_a_try(error: Exception) -> bool:
            passing = isinstance(error, NoAnswer) and error.fault in PASSING
            return passing and (repeatable or not exchange.sent)

        async for attempt in stamina.retry_context(
            on=worth_a_try, attempts=SHORT_TRIES, **SHORT_WAITS
        ):
            with attempt:
                return await self._once(tool, arguments, key, exchange)
        raise AssertionError("the last try returns or raises")

    async def _once(
        self, tool: str, arguments: Mapping[str, Any], key: str, exchange: Exchange
    ) -> ToolAnswer:
        exchange.fault = None
        session = await self._session()
        try:
            return await session.call_tool(
                name=tool, arguments=arguments, key=key, exchange=exchange
            )
        except NoAnswer as error:
            if error.fault is Fault.SESSION_GONE:
                exchange.sent = False
                session.retire()
            elif error.fault in BREAKING:
                session.retire()
            raise
        except MCPError:
            if exchange.status >= 400:  # the HTTP side is unhappy too: begin anew
                session.retire()
            raise

    async def _session(self) -> Session:
        """Return a session that takes requests, opened if need be. Raises NoAnswer."""
        async with self._connecting:
            self._sessions = [each for each in self._sessions if not each.ended]
            if not self._sessions or self._sessions[-1].retired:
                await self._connect(self._catalogue.era if self._catalogue else None)
            return self._sessions[-1]

    async def _connect(self, era: Era | None) -> Era:
        session = Session(
            access=self.access,
            guard=self._guard,
            time_limit=self._call_timeout + SPARE_SECONDS,
            era=era,
        )
        self._sessions.append(session)
        try:
            found = await session.open()
        except NoAnswer:
            if era is None:
                raise
            self._catalogues.drop(key=self.access.catalogue_key)
            return await self._connect(None)  # it may speak another protocol by now
        if self._catalogue is not None:
            session.expect_headers(self._catalogue.header_maps)
        return found

    async def _list(self) -> Catalogue:
        async for attempt in stamina.retry_context(
            on=lambda error: isinstance(error, NoAnswer) and error.fault in PASSING,
            attempts=SHORT_TRIES - 1,
            **SHORT_WAITS,
        ):
            with attempt:
                return await self._list_once()
        raise AssertionError("the last try returns or raises")

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
        session.expect_headers(catalogue.header_maps)
        return catalogue

    def _retire(self) -> None:
        if self._sessions:
            self._sessions[-1].retire()

    def _note(self, fault: Fault) -> None:
        needs_credential = fault is Fault.CREDENTIAL
        self.state = ServerState(
            name=self.access.name,
            problem=f"The server {self.access.name} cannot be used: {SENTENCES[fault]}.",
            needs_credential=needs_credential,
        )

    def _failure(self, fault: Fault, tool: str, repeatable: bool, exchange: Exchange) -> ToolResult:
        why = SENTENCES[fault]
        if exchange.sent and not repeatable and fault not in NOT_DONE:
            return ToolResult(
                text=f"The call of {tool} was sent to the server {self.access.name}, but {why}. "
                "It may or may not have been carried out: check before repeating it.",
                state=CallState.UNKNOWN_OUTCOME,
            )
        text = f"The server {self.access.name} gave no usable answer: {why}."
        if fault is Fault.CREDENTIAL:
            text += " This user has to connect it again; go on without it."
        return ToolResult(text=text, state=CallState.FAILED)
