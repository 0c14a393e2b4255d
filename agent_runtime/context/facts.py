"""What is remembered of a tool call after its result has left the model's sight."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_runtime.context.places import Place
from agent_runtime.messages import Call, CallState

SHORT_ARGUMENTS = 160  # characters
SHORT_RESULT = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFact:
    """One tool call that has ended. `size` counts the characters of its whole result."""

    place: Place
    name: str  # as it is offered to the model
    server: str
    tool: str
    arguments: str  # the first SHORT_ARGUMENTS characters
    signature: bytes
    state: CallState
    repeatable: bool
    refused: bool
    head: str  # the first SHORT_RESULT characters of the result
    size: int
    at: str = ""  # when it ended, UTC, to the second
    shown_handle: str = ""  # for a read_result: the handle that it read

    @property
    def label(self) -> str:
        """The tool's name for the model."""
        return self.name

    @property
    def had_effect(self) -> bool:
        """True where sending the same call again could do something twice."""
        return (
            not self.repeatable
            and not self.refused
            and self.state in (CallState.SUCCEEDED, CallState.UNKNOWN_OUTCOME)
        )


def signature_of(call: Call) -> bytes:
    """Return a digest of the call's tool and canonical arguments, equal for equal calls."""
    return signature(
        server=call.tool.server if call.tool else "",
        tool=(call.tool.tool or call.tool.name) if call.tool else call.request.name,
        arguments=call.arguments,
        text=call.request.arguments,
    )


def signature(
    *, server: str, tool: str, arguments: Mapping[str, Any] | None, text: str = ""
) -> bytes:
    """Return the digest of a tool and its arguments; key order and white space do not count.

    `text` stands for arguments that are no JSON object.
    """
    written = (
        text
        if arguments is None
        else json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    )
    whole = "\0".join((server, tool, written))
    return hashlib.blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shortened(text: str, limit: int) -> str:
    """Return the text on one line, cut at `limit` characters."""
    line = " ".join(text[: 2 * limit].split())
    return line if len(line) <= limit and len(text) <= 2 * limit else f"{line[:limit]}…"
