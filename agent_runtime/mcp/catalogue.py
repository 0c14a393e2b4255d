"""What tools a server has: listed page by page, each tool examined by itself."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map

from agent_runtime.mcp.argument_schema import Checker, compile_schema
from agent_runtime.mcp.errors import DESCRIPTIONS, Answered, NoResponse, ToolServerFailure
from agent_runtime.mcp.jsonrpc import METHOD_NOT_FOUND
from agent_runtime.mcp.results import safe_text
from agent_runtime.mcp.schema_walk import UnusableSchema
from agent_runtime.mcp.session import ProtocolInfo, Session
from agent_runtime.mcp.tool_fields import MAX_NAME_CHARS, name_of, read_tool
from agent_runtime.mcp.turns import turn
from agent_runtime.net.scrubber import Scrubber
from agent_runtime.text import clean_text

MAX_PAGES = 50
MAX_TOOLS = 2_000
MAX_CATALOGUE_BYTES = 4_000_000  # of schemas and descriptions of one server
MAX_CATALOGUE_WEIGHT = 24_000_000  # bytes, of the objects that they make
MAX_EXAMINING_SECONDS = 3.0  # of the processor, for all tools of one server
MAX_DESCRIPTION_BYTES = 8_000
MAX_LEFT_OUT = 100  # tools that are named with the reason
SLICE_SECONDS = 0.01  # of examining, before the loop turns
OBJECT_BYTES = 1_000  # that a tool takes beside its schema and description, about

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
    """The usable tools of one server for one credential, and the protocol that it speaks.

    `left_out` says of other tools why they are not used. `cut_by` is the fault that ended the
    listing before its last page. `weight` is in bytes, about.
    """

    tools: Mapping[str, ListedTool]
    protocol: ProtocolInfo
    left_out: Mapping[str, str] = field(default_factory=dict)
    cut_by: ToolServerFailure | None = None
    weight: int = 0

    @property
    def header_maps(self) -> dict[str, Mapping[tuple[str, ...], str]]:
        """Return by tool which arguments go out as headers too."""
        return {tool.name: tool.header_map for tool in self.tools.values() if tool.header_map}

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know of it, in safe sentences."""
        notes = [f"{name} is left out: {why}." for name, why in self.left_out.items()]
        if self.cut_by is not None:
            notes.append(f"The list may be cut short: {DESCRIPTIONS[self.cut_by]}.")
        return tuple(notes)


class _Collected:
    """The tools of the pages so far, and what they cost."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self.tools: dict[str, ListedTool] = {}
        self.left_out: dict[str, str] = {}
        self.seen = 0
        self.size = 0
        self.weight = 0
        self.seconds = 0.0

    @property
    def full(self) -> str:
        """Why no more tools are taken, empty while they are."""
        if self.seen >= MAX_TOOLS:
            return f"only {MAX_TOOLS} tools are looked at"
        if self.size > MAX_CATALOGUE_BYTES or self.weight > MAX_CATALOGUE_WEIGHT:
            return "the tools before it fill the catalogue"
        if self.seconds > MAX_EXAMINING_SECONDS:
            return "the tools before it took too long to examine"
        return ""

    async def add(self, listed: list[Any]) -> None:
        """Examine the tools of a page, a few in each turn of the loop."""
        waiting = deque(listed)
        while waiting:
            async with turn():
                began = time.thread_time()
                while waiting and time.thread_time() - began < SLICE_SECONDS:
                    self._add(waiting.popleft())
                self.seconds += time.thread_time() - began

    def _add(self, listed: Any) -> None:
        try:
            if self.full:
                raise UnusableSchema(self.full)
            self.seen += 1
            tool = _examined(listed, self._scrubber)
        except UnusableSchema as error:
            if len(self.left_out) < MAX_LEFT_OUT:
                name = safe_text(
                    text=name_of(listed), scrubber=self._scrubber, max_bytes=MAX_NAME_CHARS
                )
                self.left_out[name] = str(error)
        else:
            self.size += tool.size
            self.weight += tool.checker.weight + tool.size + OBJECT_BYTES
            self.tools.setdefault(tool.name, tool)


async def list_catalogue(
    *, server: str, session: Session, era: ProtocolInfo, scrubber: Scrubber
) -> Catalogue:
    """List a server's tools to the caps, leaving out those that cannot be used.

    What was listed before a page failed is kept. Raises NoResponse when there is not one page.
    """
    found = _Collected(scrubber)
    cursor: str | None = None
    cut_by: ToolServerFailure | None = None
    for number in range(1, MAX_PAGES + 1):
        try:
            page = _page(await session.list_page(cursor=cursor))
        except (NoResponse, Answered) as error:
            if number == 1:
                _check_first(error)
                break
            cut_by = error.fault if isinstance(error, NoResponse) else ToolServerFailure.REJECTED
            log.warning("tool_page_failed", server=server, page=number, fault=cut_by.value)
            break
        await found.add(page["tools"])
        following = _cursor(page.get("nextCursor"))
        if following in (None, cursor) or found.full:
            break
        cursor = following
    else:
        log.warning("catalogue.pages_truncated", server=server, pages=MAX_PAGES)
    if found.left_out:
        log.warning(
            "catalogue.tools_omitted", server=server, tools=dict([*found.left_out.items()][:20])
        )
    return Catalogue(
        tools=found.tools,
        protocol=era,
        left_out=found.left_out,
        cut_by=cut_by,
        weight=found.weight,
    )


def _page(found: Any) -> dict[str, Any]:
    """Return a page with its list of tools. Raises NoResponse where it has none."""
    page = {"tools": found} if isinstance(found, list) else found
    if not isinstance(page, dict) or not isinstance(page.get("tools"), list):
        raise NoResponse(ToolServerFailure.MALFORMED)
    return page


def _cursor(found: Any) -> str | None:
    """Return the cursor of the next page: a text, also an empty one; a number as text."""
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) else None


def _check_first(error: NoResponse | Answered) -> None:
    """Let a server pass that has no tools at all. Raises NoResponse for any other fault."""
    if isinstance(error, NoResponse):
        raise error
    if error.error.code != METHOD_NOT_FOUND:
        raise NoResponse(ToolServerFailure.REJECTED, error.error.message)


def _examined(listed: Any, scrubber: Scrubber) -> ListedTool:
    found = read_tool(listed)
    name = found.name
    if not name or len(name) > MAX_NAME_CHARS or scrubber.scrub(clean_text(name)) != name:
        raise UnusableSchema("its name cannot be used")
    checker = compile_schema(found.schema)
    text = json.dumps(found.schema, ensure_ascii=False)
    if scrubber.scrub(text) != text:
        raise UnusableSchema("its schema holds a secret")
    mirrored = "x-mcp-header" in text
    if mirrored and find_invalid_x_mcp_header(found.schema) is not None:
        raise UnusableSchema("its x-mcp-header annotations are invalid")
    description = safe_text(
        text=found.description, scrubber=scrubber, max_bytes=MAX_DESCRIPTION_BYTES
    )
    return ListedTool(
        name=name,
        description=description,
        checker=checker,
        repeatable=found.repeatable,
        header_map=x_mcp_header_map(found.schema) if mirrored else {},
        size=len(text) + len(description),
    )
