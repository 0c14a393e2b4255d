"""The chat-completions shape at the border: what a provider sent, checked and read.

Unknown fields are allowed everywhere and kept in the message. Source: OpenAI's API reference
("Chat completions") and OpenRouter's ("Usage accounting", "Reasoning tokens").
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from agent_runtime.messages import ModelAnswer, ToolRequest, Usage
from agent_runtime.text import clean

MAX_TOKENS_COUNTED = 10**12
MOST_COST = 1_000.0  # US dollars for one call; a task has room for less than a million
LONGEST_ID = 200
LONGEST_REASON = 50
LONGEST_NAME = 64

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_SAFE_ID = re.compile(r"[!-~]{1,200}")


def _or_zero(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        return 0


def _or_none(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        return None


# An odd figure must not cost us an answer that was paid for.
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS_COUNTED), WrapValidator(_or_zero)]
Cost = Annotated[
    float | None, Field(ge=0, le=MOST_COST, allow_inf_nan=False), WrapValidator(_or_none)
]
Text = Annotated[str | None, WrapValidator(_or_none)]


class _InputDetails(BaseModel):
    cached_tokens: Tokens = 0


class _OutputDetails(BaseModel):
    reasoning_tokens: Tokens = 0


class _CostDetails(BaseModel):
    upstream_inference_cost: Cost = None


class _Usage(BaseModel):
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    prompt_tokens_details: Annotated[_InputDetails | None, WrapValidator(_or_none)] = None
    completion_tokens_details: Annotated[_OutputDetails | None, WrapValidator(_or_none)] = None
    cost: Cost = None
    is_byok: Annotated[bool | None, WrapValidator(_or_none)] = None
    cost_details: Annotated[_CostDetails | None, WrapValidator(_or_none)] = None

    def value(self) -> Usage:
        cost = self.cost
        if cost is not None and self.is_byok and self.cost_details is not None:
            # With a key of the customer's own at the model's maker, `cost` is the fee alone.
            cost += self.cost_details.upstream_inference_cost or 0.0
        incoming, outgoing = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cached_input_tokens=incoming.cached_tokens if incoming else 0,
            reasoning_tokens=outgoing.reasoning_tokens if outgoing else 0,
            cost_usd=cost,
        )


class _Function(BaseModel):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(BaseModel):
    id: Text = None
    function: _Function


class _Part(BaseModel):
    text: Text = None


class _Message(BaseModel):
    content: str | list[_Part | str] | None = None
    tool_calls: list[_ToolCall] | None = None

    def text(self) -> str:
        if not isinstance(self.content, list):
            return self.content or ""
        return "".join(
            part if isinstance(part, str) else (part.text or "") for part in self.content
        )


class _Choice(BaseModel):
    message: _Message
    finish_reason: Text = None


class _Completion(BaseModel):
    id: Text = None
    model: Text = None
    choices: list[_Choice] = Field(min_length=1)
    usage: Annotated[_Usage | None, WrapValidator(_or_none)] = None


def error_in(body: Mapping[str, Any]) -> Any:
    """Return the error object of an answer that came with a good status, or None."""
    if body.get("error"):
        return body["error"]
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict):
        if first.get("error"):
            return first["error"]
        if first.get("finish_reason") == "error":
            return {"message": "The model stopped with an error."}
    return None


def read_completion(
    body: Mapping[str, Any], *, model: str, request_id: str, salt: str
) -> ModelAnswer:
    """Return the answer that a whole completion holds.

    `model` and `request_id` count where the body names none; `salt` makes the ids of tool
    calls that came without one unlike those of other requests. Raises ValueError (pydantic's
    ValidationError is one) when the body is no completion.
    """
    body = clean(body)
    read = _Completion.model_validate(body)
    choice = read.choices[0]
    received = body["choices"][0]["message"]
    message, requests = _repaired(received, choice.message, salt=salt)
    return ModelAnswer(
        message=message,
        text=choice.message.text(),
        requests=requests,
        finish_reason=(choice.finish_reason or ("tool_calls" if requests else "stop"))[
            :LONGEST_REASON
        ],
        usage=read.usage.value() if read.usage else Usage(),
        model=(read.model or model)[:LONGEST_ID],
        request_id=(read.id or clean(request_id))[:LONGEST_ID],
    )


def _repaired(
    received: Mapping[str, Any], read: _Message, *, salt: str
) -> tuple[dict[str, Any], tuple[ToolRequest, ...]]:
    """Return the message fit to be sent back, and its tool calls.

    Providers check a transcript more strictly than what they send: each tool call needs an id
    of its own, a type, a name of plain characters and an object as arguments; an empty list
    of tool calls and a message with neither text nor calls are refused. All else stays as
    received, and so do a request's broken arguments: they are answered by the runtime.
    """
    message = {**received, "role": "assistant"}
    if not read.tool_calls:
        message.pop("tool_calls", None)
        if message.get("content") is None:
            message["content"] = ""
        return message, ()
    calls, requests = [], []
    taken: set[str] = set()
    for index, (raw, call) in enumerate(zip(received["tool_calls"], read.tool_calls, strict=True)):
        name = _NOT_IN_NAMES.sub("_", call.function.name or "unnamed")[:LONGEST_NAME]
        arguments = _arguments(call.function.arguments)
        call_id = call.id or ""
        if not _SAFE_ID.fullmatch(call_id) or call_id in taken:
            call_id = _made_id(salt, str(index), name, arguments)
        taken.add(call_id)
        function = {**raw["function"], "name": name, "arguments": _echoed(arguments)}
        calls.append({**raw, "id": call_id, "type": "function", "function": function})
        requests.append(ToolRequest(call_id=call_id, name=name, arguments=arguments))
    return {**message, "tool_calls": calls}, tuple(requests)


def _arguments(received: str | dict[str, Any] | None) -> str:
    if isinstance(received, dict):
        return json.dumps(received, ensure_ascii=False)
    return received or "{}"


def _echoed(arguments: str) -> str:
    try:
        if isinstance(json.loads(arguments), dict):
            return arguments
    except (ValueError, RecursionError):
        pass
    return json.dumps({"unreadable_arguments": arguments}, ensure_ascii=False)


def _made_id(*parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"call_{digest[:24]}"
