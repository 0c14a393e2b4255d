"""The chat-completions shape at the border: what a provider sent, checked and read.

Unknown fields are allowed everywhere and kept in the message. Source: OpenAI's API reference
("Chat completions") and OpenRouter's ("Reasoning tokens", "Errors").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, WrapValidator

from agent_runtime.finish import Finish, finish_of
from agent_runtime.llm.calls import repaired_calls
from agent_runtime.llm.usage import ReportedUsage, or_none
from agent_runtime.messages import ModelAnswer, ToolRequest, Usage, refusal_of, text_of
from agent_runtime.text import clean

MAX_ID = 200
MAX_REASON = 50

Text = Annotated[str | None, WrapValidator(or_none)]

# What a body without choices holds, besides `error`, when it reports one: FastAPI, Cloudflare,
# Baidu, Java's gateways.
_ERROR_KEYS = ("detail", "errors", "error_msg", "errmsg", "error_message", "errorMessage")
_BESIDE_A_MESSAGE = ("code", "status", "type", "success", "status_code")


class _Function(BaseModel):
    name: str | None = None
    arguments: Any = None


class _ToolCall(BaseModel):
    function: _Function


class _Message(BaseModel):
    content: str | list[Any] | dict[str, Any] | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: Annotated[_Function | None, WrapValidator(or_none)] = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: Text = None
    native_finish_reason: Text = None


class _Completion(BaseModel):
    id: Text = None
    model: Text = None
    choices: list[_Choice] = Field(min_length=1)
    usage: Annotated[ReportedUsage | None, WrapValidator(or_none)] = None


def error_in(body: Mapping[str, Any]) -> Any:
    """Return the error object of an answer that came with a good status, or None.

    It stands under `error`, in the first choice, or is the body itself where that has no choices.
    """
    if body.get("error"):
        return body["error"]
    base = body.get("base_resp")  # MiniMax, beside choices that are null
    if isinstance(base, dict) and base.get("status_code"):
        return {"message": base.get("status_msg"), "code": base["status_code"]}
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict):
        if first.get("error"):
            return first["error"]
        word = first.get("finish_reason")
        if isinstance(word, str) and finish_of(word) is Finish.BROKEN:
            said = "" if word == "error" else f" ({word[:MAX_REASON]})"
            return {"message": f"The model stopped with an error{said}."}
        return None
    return None if choices else _bare_error(body)


def _bare_error(body: Mapping[str, Any]) -> Any:
    """Return the body where it is an error without the key `error`."""
    named = "error" in (body.get("object"), body.get("type"), body.get("status"))
    message = isinstance(body.get("message"), str) and any(
        body.get(key) is not None for key in _BESIDE_A_MESSAGE
    )
    told = any(body.get(key) for key in _ERROR_KEYS)
    return body if named or message or told else None


def read_completion(
    body: Mapping[str, Any],
    *,
    model: str,
    request_id: str,
    salt: str,
    taken: Collection[str] = (),
) -> ModelAnswer:
    """Return the answer that a whole completion holds.

    `model` and `request_id` count where the body names none; `taken` are the ids of the
    transcript's tool calls, and `salt` makes new ones unlike those of other requests. Raises
    ValueError (pydantic's ValidationError is one) when the body is no completion.
    """
    body = clean(body)
    read = _Completion.model_validate(body)
    choice = read.choices[0]
    word = (choice.finish_reason or choice.native_finish_reason or "")[:MAX_REASON]
    message = {**body["choices"][0]["message"], "role": "assistant"}
    calls = message.pop("tool_calls", None) or _legacy_call(message, choice.message)
    requests: tuple[ToolRequest, ...] = ()
    if calls:
        message["tool_calls"], requests = repaired_calls(
            calls, finish=finish_of(word), taken=taken, salt=salt
        )
    elif message.get("content") is None:
        message["content"] = ""
    return ModelAnswer(
        message=message,
        text=text_of(message),
        refusal=refusal_of(message),
        requests=requests,
        finish_reason=word or ("tool_calls" if requests else "stop"),
        usage=read.usage.value() if read.usage else Usage(),
        model=(read.model or model)[:MAX_ID],
        request_id=(read.id or clean(request_id))[:MAX_ID],
    )


def _legacy_call(message: dict[str, Any], read: _Message) -> list[Any]:
    """Return the one call of a server that answers in the API's older form, if any."""
    if read.function_call is None or not read.function_call.name:
        return []
    return [{"function": message.pop("function_call")}]
