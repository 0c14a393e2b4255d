"""JSON-RPC messages of tool servers, read for what they mean.

The SDK takes a message only when each field is as the protocol has it, and real servers send
wrong ids, numbers as text, `error` as a string, results without their required fields. A result
that arrived means that the call was carried out, whatever its form. So the transport reads every
message here, keeps the result as received for whoever asked, and gives the SDK a minimal message
that it takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from agent_runtime.mcp.errors import ResponseRejected, ServerError, ToolServerFailure
from agent_runtime.mcp.json_budget import CHEAP, TooHeavy, load
from agent_runtime.text import clean, clean_text

MAX_MESSAGE_CHARS = 4_000  # of an error's words
MAX_ASKED_BYTES = 64_000  # of a request or notification of the server
SERVER_ERROR_CODE = -32_000  # JSON-RPC: where the server gives none
METHOD_NOT_FOUND = -32_601
ASSUMED_VERSION = "2025-03-26"  # where a server names none (as for the header that names it)
FIRST_DRAFT = "2024-10-07"  # served by old SDKs; what we use of it is as in the first release

# The key that tells a result by itself, from a server that left its envelope out.
_TELLING = {
    "initialize": ("protocolVersion",),
    "tools/list": ("tools",),
    "tools/call": ("content", "structuredContent", "toolResult"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the transport has to know of a JSON-RPC message that goes out."""

    request_id: Any = None
    method: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] | None = None
    key: str = ""

    @classmethod
    def of(cls, http_method: str, content: bytes) -> Envelope:
        """Return the envelope of a request's body, empty for one without."""
        if http_method != "POST":
            return cls()
        body = json.loads(content)
        params = body.get("params") or {}
        return cls(
            request_id=body.get("id"),
            method=body.get("method", ""),
            tool=params.get("name", ""),
            arguments=params.get("arguments"),
            key=(params.get("_meta") or {}).get("idempotencyKey", ""),
        )

    @property
    def asks(self) -> bool:
        """True for a request, which has to be answered."""
        return self.request_id is not None and bool(self.method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A server's answer to a request: its error, or its result as received.

    `own_id` says that it named the request.
    """

    error: ServerError | None = None
    result: Any = None
    own_id: bool = False


def read(message: bytes) -> Any:
    """Return a message's JSON. Raises ResponseRejected when it is none, or too heavy."""
    try:
        return load(message)
    except TooHeavy:
        raise ResponseRejected(ToolServerFailure.TOO_LARGE) from None
    except ValueError:
        raise ResponseRejected(ToolServerFailure.MALFORMED) from None


def answer_in(found: Any, asked: Envelope) -> Answer | None:
    """Return the answer that one body, or one event, holds; None where there is none.

    One request has one answer, so that its id decides only among several in a batch.
    """
    if isinstance(found, list):
        answers = [answer for each in found if (answer := _answer(each, asked)) is not None]
        return next((each for each in answers if each.own_id), answers[0] if answers else None)
    return _answer(found, asked)


def _answer(message: Any, asked: Envelope) -> Answer | None:
    if not isinstance(message, dict) or isinstance(message.get("method"), str):
        return None
    error = message.get("error")
    own_id = str(message.get("id")) == str(asked.request_id)
    if error not in (None, False, "") and message.get("result") is None:
        return Answer(error=_error(error), own_id=own_id)
    if "result" in message:
        return Answer(result=message["result"], own_id=own_id)
    if any(key in message for key in _TELLING.get(asked.method, ())):
        return Answer(result=message)
    return None


def _error(error: Any) -> ServerError:
    """Return an error of any shape: an object, a string, a list."""
    code, message, data = None, error, None
    if isinstance(error, dict):
        code, message, data = _number(error.get("code")), error.get("message"), error.get("data")
        if not message:
            message = {key: each for key, each in error.items() if key != "code"} or "no message"
    if not isinstance(message, str):
        message = json.dumps(message, ensure_ascii=False, default=repr)
    return ServerError(code=code, message=message, data=data)


def _number(code: Any) -> int | None:
    try:
        return int(code)
    except (TypeError, ValueError, OverflowError):
        return None


def words_of(body: bytes) -> str:
    """Return what a body that is no answer says: its message, its text; nothing of a page."""
    try:
        found = load(body)
    except TooHeavy:
        return ""
    except ValueError:
        text = body.decode("utf-8-sig", "replace").strip()
        return "" if text.startswith("<") else text
    for key in ("message", "error", "detail", "title", "error_description"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            return words_of(json.dumps(found).encode())
        if isinstance(found, dict) and isinstance(found.get(key), str):
            return str(found[key])
    return found if isinstance(found, str) else ""


def for_sdk(asked: Envelope, answer: Answer) -> bytes:
    """Return an answer as the SDK takes it.

    Raises ResponseRejected for a version that nobody speaks.
    """
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": asked.request_id}
    if answer.error is not None:
        code = SERVER_ERROR_CODE if answer.error.code is None else answer.error.code
        message = clean_text(answer.error.message[:MAX_MESSAGE_CHARS])
        body["error"] = {"code": code, "message": message}
        if asked.method == "server/discover":  # where it names the versions that it speaks
            body["error"]["data"] = clean(answer.error.data)
    else:
        body["result"] = _stub(asked.method, answer.result)
    return json.dumps(body).encode()


def asked_by_server(found: Any) -> bytes | None:
    """Return a request or notification of the server as the SDK takes it, None for another."""
    if not isinstance(found, dict) or not isinstance(found.get("method"), str):
        return None
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": found["method"]}
    if isinstance(found.get("id"), str | int) and not isinstance(found["id"], bool):
        body["id"] = found["id"]
    if isinstance(found.get("params"), dict):
        body["params"] = clean(found["params"])
    text = json.dumps(body).encode()
    light = len(text) <= MAX_ASKED_BYTES and text.count(b",") <= CHEAP
    return text if light else None


def _stub(method: str, result: Any) -> dict[str, Any]:
    """Return the least that the SDK wants of a result: who asked reads the result itself."""
    found = result if isinstance(result, dict) else {}
    complete = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    if method == "initialize":
        return {
            "protocolVersion": _agreed(found.get("protocolVersion")),
            "capabilities": {},
            "serverInfo": {"name": "server", "version": ""},
        }
    if method == "server/discover":
        versions = found.get("supportedVersions")
        if not isinstance(versions, list):
            return {}  # not what was asked for: the SDK goes on with the handshake
        known = [each for each in versions[:100] if isinstance(each, str)]
        return {"supportedVersions": known, "capabilities": {}, **complete}
    if method == "tools/list":
        return {"tools": [], **complete}
    return {"content": [], **complete} if method == "tools/call" else {}


def _agreed(version: Any) -> str:
    if not isinstance(version, str):
        return ASSUMED_VERSION
    if version == FIRST_DRAFT:
        return HANDSHAKE_PROTOCOL_VERSIONS[0]
    if version not in HANDSHAKE_PROTOCOL_VERSIONS:
        raise ResponseRejected(ToolServerFailure.VERSION, version)
    return version
