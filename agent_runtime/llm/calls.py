"""Tool calls in a model's message: read tolerantly, and made fit to be sent back.

Providers check a transcript more strictly than what they send: each call needs an id of its own
that they take, a type, a name of plain characters and an object as arguments.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from typing import Any

from agent_runtime.finish import Finish
from agent_runtime.messages import ToolRequest

MAX_NAME = 64
MAX_SIGNED_ID = 100_000

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
# OpenAI takes 40 characters, Anthropic and Bedrock no others than these.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
# The template of Kimi K2 reads its own form of an id.
_KIMI_ID = re.compile(r"functions\.[A-Za-z0-9_-]{1,64}:[0-9]{1,6}")
# LiteLLM and other gateways append Gemini's signature of the thoughts, which has to come back.
_SIGNED_ID = re.compile(r"[A-Za-z0-9_-]{1,100}__(?:thought|gts)_[!-~]+")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
MADE_ID_LENGTH = 9  # letters and digits: what Mistral wants, and all others take


def repaired_calls(
    received: list[Any], *, finish: Finish, taken: Collection[str], salt: str
) -> tuple[list[dict[str, Any]], tuple[ToolRequest, ...]]:
    """Return the calls as they are sent back, and the requests that they make.

    `taken` are the ids of earlier calls: a call that has none of its own, or one that no provider
    but its maker takes, gets a new one, which depends on `salt` and the call alone. All else of
    a call stays as received. Broken arguments are left to the runtime to answer.
    """
    calls, requests = [], []
    ids: set[str] = set()
    for index, raw in enumerate(received):
        function = {key: each for key, each in raw["function"].items() if each is not None}
        name = _NOT_IN_NAMES.sub("_", function.get("name") or "unnamed")[:MAX_NAME]
        arguments = _arguments(function.get("arguments"), finish)
        call_id = raw.get("id")
        if not isinstance(call_id, str) or not _fits(call_id) or call_id in ids or call_id in taken:
            call_id = _made_id([*ids, *taken], salt, str(index), name, arguments)
        ids.add(call_id)
        kept = {key: each for key, each in raw.items() if key != "index" and each is not None}
        function |= {"name": name, "arguments": _echoed(arguments)}
        calls.append({**kept, "id": call_id, "type": "function", "function": function})
        requests.append(ToolRequest(call_id=call_id, name=name, arguments=arguments))
    return calls, tuple(requests)


def _fits(call_id: str) -> bool:
    if _PLAIN_ID.fullmatch(call_id) or _KIMI_ID.fullmatch(call_id):
        return True
    return len(call_id) <= MAX_SIGNED_ID and _SIGNED_ID.fullmatch(call_id) is not None


def _arguments(received: Any, finish: Finish) -> str:
    """Return the arguments as JSON text; `{}` where the model gave none.

    Without a good end nothing is not `{}`: there may have been more to come. PHP writes an empty
    object as `[]`.
    """
    text = received if isinstance(received, str) else ""
    if received is not None and not isinstance(received, str):
        text = json.dumps(received, ensure_ascii=False)
    if text.strip() in ("", "null", "[]"):
        return "{}" if text.strip() or finish is Finish.ENDED else ""
    return text


def _echoed(arguments: str) -> str:
    try:
        if not arguments or isinstance(json.loads(arguments), dict):
            return arguments or "{}"
    except (ValueError, RecursionError):
        pass
    return json.dumps({"unreadable_arguments": arguments}, ensure_ascii=False)


def _made_id(taken: Collection[str], *parts: str) -> str:
    number = 0
    while (made := short_id("\0".join((*parts, str(number))))) in taken:
        number += 1
    return made


def short_id(seed: str) -> str:
    """Return an id of nine letters and digits that depends on the seed alone."""
    digest = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")
    places = (digest // len(_ALPHABET) ** place for place in range(MADE_ID_LENGTH))
    return "".join(_ALPHABET[each % len(_ALPHABET)] for each in places)
