"""The values that the loop, the ports and the journal exchange."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agent_runtime.adaptation import NOTHING, Adaptation
from agent_runtime.context.marks import Mark
from agent_runtime.echo import echo
from agent_runtime.finish import Finish, finish_of
from agent_runtime.outcome import StopReason


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the transcript as its JSON bytes in the chat-completions shape.

    Encoded once, when it joins the transcript: asking the model joins ready bytes, so the
    two hundredth step costs what the tenth did. Build it with the functions below.
    """

    wire: bytes

    @property
    def is_assistant(self) -> bool:
        """True for a message of the model."""
        return self.wire.startswith(b'{"role":"assistant"')


EMPTY_RESULT = "(empty)"

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(value: object) -> bytes:
    """Return the value as compact JSON."""
    return _ENCODER.encode(value).encode()


def _message(body: Mapping[str, Any]) -> Message:
    return Message(encode(body))


@functools.lru_cache(maxsize=64)
def system_message(text: str) -> Message:
    """The system prompt, always first, byte-stable within a run; equal ones are one object."""
    return _message({"role": "system", "content": text})


def user_message(text: str) -> Message:
    """The task itself, or a note of the runtime to the model."""
    return _message({"role": "user", "content": text})


def assistant_message(received: Mapping[str, Any]) -> Message:
    """The model's message as it goes back to it, unknown keys included: see `echo`."""
    return _message(echo(received))


def tool_message(call_id: str, text: str) -> Message:
    """The result of one tool call, matched to its request by `call_id`; never blank."""
    content = text if text.strip() else EMPTY_RESULT
    return _message({"role": "tool", "tool_call_id": call_id, "content": content})


def text_of(message: Mapping[str, Any]) -> str:
    """Return the words of an assistant's message: its content, or the text parts of it."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "".join(map(_text_of_part, parts))


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def refusal_of(message: Mapping[str, Any]) -> str:
    """Return the words in which the model refused, or nothing."""
    refusal = message.get("refusal")
    return refusal.strip() if isinstance(refusal, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and cost of one or more model calls; `cost_usd` is None where none was given."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """A tool call as the model asked for it; `arguments` is the JSON text as received."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """One response of the model.

    `message` is the assistant's message as received (kept whole); `text`, `refusal`, `requests`
    and `finish_reason` are read from it. `finish_reason` is the provider's word, see `finish`.
    `adaptation` is what the provider has been found not to take in this run, and `notes` is what
    the model was told of it in this request, after the notes of the request itself.
    """

    message: Mapping[str, Any]
    text: str = ""
    refusal: str = ""
    requests: tuple[ToolRequest, ...] = ()
    finish_reason: str = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    request_id: str = ""
    adaptation: Adaptation = NOTHING
    notes: tuple[str, ...] = ()

    @property
    def finish(self) -> Finish:
        """How the answer ended."""
        return finish_of(self.finish_reason)


class Permission(StrEnum):
    """What a navigator may do with a tool."""

    ALWAYS_EXECUTE = "always_execute"  # runs when the agent asks
    REQUIRE_APPROVAL = "require_approval"  # a person decides; hidden until approvals exist
    DISABLED = "disabled"  # never shown, never run


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as it is offered to the model.

    `name` matches `[A-Za-z0-9_-]{1,64}` and is unique within a run; `server` and `tool` are
    the names that it stands for (`server` is empty for a built-in). `repeatable` says that
    sending a call twice does no harm; it decides what a crash in mid-call means.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    server: str = ""
    tool: str = ""
    repeatable: bool = False


class CallState(StrEnum):
    """Where a tool call stands; the journal writes each change before or after the effect."""

    PLANNED = "planned"  # asked for, not sent; safe to send
    STARTED = "started"  # may have been sent: in doubt until a result is kept
    SUCCEEDED = "succeeded"  # answered
    FAILED = "failed"  # answered with an error, or refused by the runtime before it was sent
    UNKNOWN_OUTCOME = "unknown_outcome"  # sent, answer lost, not repeatable
    CANCELLED = "cancelled"  # never sent, or repeatable and given up, because the task was stopped

    @property
    def ended(self) -> bool:
        """True when the call has its result and will not run again."""
        return self not in (CallState.PLANNED, CallState.STARTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool call came to, as text for the model.

    `whole` is the whole text where `text` was cut to fit the context; `size` counts the
    characters of the whole. `complete` is False where even that was cut before it was kept.
    """

    text: str
    state: CallState = CallState.SUCCEEDED
    whole: str | None = None
    size: int = 0
    complete: bool = True

    @property
    def failed(self) -> bool:
        """True when the agent should read the text as an error."""
        return self.state is not CallState.SUCCEEDED


@dataclass(slots=True, kw_only=True)
class Call:
    """One tool call of a step. `key` is its identity and its idempotency key, stable for ever.

    `arguments` is the validated object, or None where the model's text was no object.
    `tool` is None where the runtime answered a request for a tool that is not offered, and
    `refused` says that the runtime answered instead of the tool.
    """

    key: str
    index: int
    request: ToolRequest
    arguments: Mapping[str, Any] | None
    tool: Tool | None
    state: CallState
    result: ToolResult | None = None
    refused: bool = False
    at: str = ""  # when its result was kept, UTC, to the second

    @property
    def to_server(self) -> bool:
        """True for a call that is, was or will be sent to a tool server."""
        return not self.refused and self.tool is not None and bool(self.tool.server)

    @property
    def tool_is_repeatable(self) -> bool:
        """True when sending the call twice does no harm."""
        return self.tool is not None and self.tool.repeatable

    def end(self, result: ToolResult) -> None:
        """Take the result; the call will not run again."""
        self.state = result.state
        self.result = result


@dataclass(slots=True, kw_only=True)
class Turn:
    """One step: what the runtime added, what the model answered, the calls it asked for."""

    index: int
    notes: Sequence[str]
    answer: ModelAnswer
    calls: list[Call]
    closing: StopReason | None = None  # set when this was the last, tool-less call for the report
    mark: Mark | None = None  # how the context of its request was made
    caller_notes: Sequence[int] = ()  # indexes of the notes that are the caller's own words

    @property
    def open_calls(self) -> list[Call]:
        """The calls that have no result yet."""
        return [call for call in self.calls if not call.state.ended]
