"""The two ports of the agent: everything it needs of the world comes through these."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent_runtime.adaptation import NOTHING, Adaptation
from agent_runtime.messages import Call, Message, ModelAnswer, Tool, ToolResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One request to the model; `timeout` is in seconds, for the whole answer.

    With `tools_disabled` it must not ask for a tool. The tools go along all the same: a transcript
    that holds tool calls is refused by some providers without them, and their cache would miss.
    `call_ids` are the ids of the transcript's tool calls: a new call gets none of them.
    `adaptation` is what the provider has been found not to take in this run.
    """

    model: str
    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    tools_disabled: bool = False
    timeout: float = 300.0
    call_ids: Collection[str] = ()
    adaptation: Adaptation = NOTHING


class Model(Protocol):
    """The language model."""

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """Return one whole answer.

        Raises ModelUnavailable (try again later), ContextTooLong (the request does not fit the
        model's window) or ModelRefused (final).
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """How one server stands for this user: `problem` is empty when it is usable.

    `needs_credential` is True when the user (or the project) must connect it first. `detail` is
    what the server says of the problem, for an operator: it is not for the prompt.
    """

    name: str
    problem: str = ""
    needs_credential: bool = False
    detail: str = ""


class Tools(Protocol):
    """The tools of one run, for one user. Opened once a run, closed at its end."""

    async def open(self) -> None:
        """Connect and list what there is. Never raises for a server: see `servers`."""

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that this user's agent may call, in a stable order."""

    @property
    def servers(self) -> Sequence[ServerState]:
        """Each connected server and its state for this user."""

    def check(self, tool: Tool, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the arguments by the tool's schema, or None."""

    async def call(self, call: Call) -> ToolResult:
        """Send one call, with `call.key` as idempotency key, and return its result.

        A tool's error, a dead server and a missed deadline are results. Never raises
        but for cancellation.
        """

    async def close(self) -> None:
        """End all sessions. Never raises."""
