"""What tools a server has: listed page by page, checked, kept for a while."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import mcp_types as types
import structlog
from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map

from agent_runtime.text import clean_text
from agent_runtime.tools.faults import NoAnswer
from agent_runtime.tools.results import safe_text
from agent_runtime.tools.schema import Checker, UnusableSchema, compile_schema
from agent_runtime.tools.scrub import Scrubber
from agent_runtime.tools.session import Era, Session

MAX_PAGES = 50
MAX_TOOLS = 2_000
MAX_CATALOGUE_BYTES = 4_000_000  # of schemas and descriptions of one server
MAX_NAME_CHARS = 200
MAX_DESCRIPTION_BYTES = 8_000
MAX_AGE_SECONDS = 300.0
MAX_KEPT = 1_000  # catalogues in a process

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTool:
    """A tool as its server lists it. `repeatable` is its own hint; `size` is in characters."""

    name: str
    description: str
    checker: Checker
    repeatable: bool
    header_map: Mapping[tuple[str, ...], str]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """The usable tools of one server for one credential, and the protocol that it speaks."""

    tools: Mapping[str, ListedTool]
    era: Era

    @property
    def header_maps(self) -> dict[str, Mapping[tuple[str, ...], str]]:
        """Return by tool which arguments go out as headers too."""
        return {tool.name: tool.header_map for tool in self.tools.values() if tool.header_map}


class CatalogueCache:
    """The catalogues of this process, by server instance and credential.

    Entries live `max_age` seconds, the longest unused go first. Those who want one that is
    being listed wait for it and share its outcome.
    """

    def __init__(
        self,
        *,
        max_age: float = MAX_AGE_SECONDS,
        max_kept: int = MAX_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_age = max_age
        self._max_kept = max_kept
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Catalogue]] = OrderedDict()
        self._listing: dict[str, asyncio.Future[Catalogue]] = {}

    def fresh(self, *, key: str) -> Catalogue | None:
        """Return the catalogue kept under `key`, unless it is stale."""
        made, catalogue = self._kept.get(key, (0.0, None))
        if catalogue is None or self._clock() - made > self._max_age:
            return None
        self._kept.move_to_end(key)
        return catalogue

    def drop(self, *, key: str) -> None:
        """Forget a catalogue that turned out to be wrong."""
        self._kept.pop(key, None)

    async def get(self, *, key: str, make: Callable[[], Awaitable[Catalogue]]) -> Catalogue:
        """Return the catalogue kept under `key`, or make it, once for all who ask meanwhile.

        An empty key is never kept. Raises what `make` raises.
        """
        if not key:
            return await make()
        while (found := self.fresh(key=key)) is None:
            listing = self._listing.get(key)
            if listing is None:
                return await self._make(key, make)
            await asyncio.wait({listing})
            if not listing.cancelled():
                return listing.result()
        return found

    async def _make(self, key: str, make: Callable[[], Awaitable[Catalogue]]) -> Catalogue:
        listing = self._listing[key] = asyncio.get_running_loop().create_future()
        try:
            catalogue = await make()
        except NoAnswer as error:
            listing.set_exception(NoAnswer(error.fault))
            listing.exception()  # seen, in case that nobody waits
            raise
        else:
            listing.set_result(catalogue)
        finally:
            del self._listing[key]
            listing.cancel()  # only when we were cancelled: those who wait list for themselves
        self._kept[key] = (self._clock(), catalogue)
        self._kept.move_to_end(key)
        while len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)
        return catalogue


async def list_catalogue(
    *, server: str, session: Session, era: Era, scrubber: Scrubber
) -> Catalogue:
    """List a server's tools to the caps, leaving out those that cannot be used.

    Raises NoAnswer.
    """
    tools: dict[str, ListedTool] = {}
    left_out: dict[str, str] = {}
    seen, size, cursor = 0, 0, None
    for _ in range(MAX_PAGES):
        page = await session.list_page(cursor=cursor)
        for listed in page.tools[: MAX_TOOLS - seen]:
            try:
                tool = _checked(listed, scrubber)
                size += tool.size
                if size > MAX_CATALOGUE_BYTES:
                    raise UnusableSchema("the tools before it fill the catalogue")
            except UnusableSchema as error:
                left_out[clean_text(listed.name)[:MAX_NAME_CHARS]] = str(error)
            else:
                tools.setdefault(tool.name, tool)
        seen += len(page.tools)
        await asyncio.sleep(0)  # compiling a page takes a while; let others run
        if page.next_cursor in (None, cursor) or seen >= MAX_TOOLS:
            break
        cursor = page.next_cursor
    else:
        log.warning("tool_pages_cut", server=server, pages=MAX_PAGES)
    if left_out:
        log.warning("tools_left_out", server=server, tools=dict(list(left_out.items())[:20]))
    return Catalogue(tools=tools, era=era)


def _checked(listed: types.Tool, scrubber: Scrubber) -> ListedTool:
    name = listed.name
    if not name or len(name) > MAX_NAME_CHARS or scrubber.scrub(clean_text(name)) != name:
        raise UnusableSchema("its name cannot be used")
    if find_invalid_x_mcp_header(listed.input_schema) is not None:
        raise UnusableSchema("its x-mcp-header annotations are invalid")
    checker = compile_schema(listed.input_schema)
    text = json.dumps(listed.input_schema, ensure_ascii=False)
    if scrubber.scrub(text) != text:
        raise UnusableSchema("its schema holds a secret")
    hints = listed.annotations
    description = safe_text(
        text=listed.description or "", scrubber=scrubber, max_bytes=MAX_DESCRIPTION_BYTES
    )
    return ListedTool(
        name=name,
        description=description,
        checker=checker,
        repeatable=bool(hints and (hints.read_only_hint or hints.idempotent_hint)),
        header_map=x_mcp_header_map(listed.input_schema),
        size=len(text) + len(description),
    )
