"""Models behind sockets that know only what they are sent, with a window that they keep to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from agent_runtime.context.words import SUMMARY_ORDER
from agent_runtime.messages import ToolResult
from agent_runtime.testing import FakeTools
from tests.support.model_server import Recorded, Reply, ask, plain, say

BYTES_A_TOKEN = 3.5
ORDER = SUMMARY_ORDER[:40]
NEXT = re.compile(r"next key (\d+)")
TASK_WORD = "marmalade"
SKILL_WORD = "quicksilver"
FILLER = "x" * 2_000

Wire = list[dict[str, Any]]


class WindowedModel:
    """Answers by `policy`, a function of the messages; refuses what does not fit `window` tokens.

    `names_window` says whether the refusal tells the window. `refused` counts the refusals,
    `largest` is the largest request taken, in tokens.
    """

    def __init__(self, policy: Callable[[Wire], Reply], *, window: int, names_window: bool) -> None:
        self._policy = policy
        self._window = window
        self._names_window = names_window
        self.refused = 0
        self.largest = 0
        self.summaries = 0

    def __call__(self, request: Recorded) -> Reply:
        """Answer one request."""
        tokens = int(len(request.body) / BYTES_A_TOKEN)
        if tokens > self._window:
            self.refused += 1
            return plain({"error": {"message": self._sentence(tokens), "code": 400}}, status=400)
        self.largest = max(self.largest, tokens)
        messages = request.json["messages"]
        self.summaries += ORDER in str(messages[-1]["content"])
        reply = self._policy(messages)
        return with_usage(reply, tokens)

    def _sentence(self, tokens: int) -> str:
        if self._names_window:
            return (
                f"This model's maximum context length is {self._window} tokens. However, your "
                f"messages resulted in {tokens} tokens. Please reduce the length of the messages."
            )
        return "Input is too long for requested model."


def with_usage(reply: Reply, tokens: int) -> Reply:
    """Return the reply with the tokens of its request told in it."""
    old, new = b'"prompt_tokens": 10,', b'"prompt_tokens": %d,' % tokens
    parts = [part.replace(old, new) if isinstance(part, bytes) else part for part in reply.parts]
    return Reply(parts, reply.status, reply.headers, reply.raw)


def chain_policy(length: int) -> Callable[[Wire], Reply]:
    """Load the skill, then go on from the highest key in sight; report the words in sight."""

    def policy(messages: Wire) -> Reply:
        text = json.dumps(messages)
        highest = max(map(int, NEXT.findall(text)), default=0)
        if ORDER in str(messages[-1]["content"]):
            return say(f"goal: follow the chain. next key {highest}.")
        if SKILL_WORD not in text:
            skill_id = re.search(r"load_skill[^{]*?([0-9a-f-]{36})", text)
            assert skill_id is not None, "neither the skill nor the order to load it is in sight"
            return ask(("load_skill", {"id": skill_id[1]}))
        if highest >= length:
            words = [word for word in (TASK_WORD, SKILL_WORD) if word in text]
            return say(f"done at {highest}: {' '.join(words)}")
        return ask(("fake__follow", {"key": highest}))

    return policy


def follow(arguments: Mapping[str, Any]) -> ToolResult:
    """Name the next key in 2 kB."""
    return ToolResult(text=f"next key {arguments['key'] + 1} {FILLER}")


def chain_tools() -> FakeTools:
    """Return the tool of the chain, which cannot be repeated."""
    return FakeTools({"follow": follow})
