"""Asking a server itself which tools it has, while a person waits for the answer."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.toolset import CatalogueCache, McpTools
from agent_runtime.net.address_guard import AddressGuard
from caylex_project.accounts.models import EndUser
from caylex_project.integrations.access import access_of
from caylex_project.integrations.models import ServerInstance

SECONDS = 6.0  # for the answer; the session's end may take as long again
_DESCRIPTION = 300  # characters that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What came of it: the tools, or a `problem` in one safe sentence."""

    tools: tuple[Mapping[str, Any], ...] = ()
    problem: str = ""
    seconds: float = 0.0


def list_tools(*, instance: ServerInstance, end_user: EndUser | None) -> Listed:
    """Connect as a run of that user would, and return the tools. Never raises for a server.

    Blocks for `SECONDS` and a little more at most, with nothing locked.
    """
    access = access_of(instance=instance, end_user=end_user)
    guard = AddressGuard.of(networks=settings.ENVIRONMENT.caylex_private_networks)
    started = time.monotonic()
    found = asyncio.run(_ask(access, guard))
    return Listed(
        tools=found.tools, problem=found.problem, seconds=round(time.monotonic() - started, 1)
    )


def keep_tools(*, instance: ServerInstance, listed: Listed, now: datetime.datetime) -> None:
    """Keep what was listed; runs that begin from now on list anew instead of looking it up."""
    ServerInstance.objects.filter(pk=instance.pk).update(
        tools=list(listed.tools), tools_listed_at=now
    )


async def _ask(access: ServerAccess, guard: AddressGuard) -> Listed:
    tools = McpTools(
        accesses=[access], guard=guard, call_timeout=SECONDS, catalogues=CatalogueCache()
    )
    try:
        await tools.open()
        return Listed(
            tools=tuple(
                {
                    "name": each.tool,
                    "description": each.description[:_DESCRIPTION],
                    "repeatable": each.repeatable,
                }
                for each in tools.offered
            ),
            problem=tools.servers[0].problem,
        )
    finally:
        await tools.close()
