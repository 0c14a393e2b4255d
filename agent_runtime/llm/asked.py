"""One request with what is known of the provider, and what its refusal adds to that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent_runtime.adaptation import Adaptation, left_out_note
from agent_runtime.errors import ContextTooLong, ModelError
from agent_runtime.llm.lessons import learn
from agent_runtime.messages import ToolRequest
from agent_runtime.ports import ModelRequest


class Refusal(Exception):
    """A fault with all the words of the provider, which may teach what to ask instead."""

    def __init__(self, fault: ModelError, *, status: int, words: str) -> None:
        super().__init__()
        self.fault = fault
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a refusal teaches: of the server, for all runs, and for this run."""

    for_all: Adaptation
    for_run: Adaptation


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it is sent: `known` holds for all runs, `learned` for this one."""

    request: ModelRequest
    known: Adaptation
    learned: Adaptation

    @property
    def adaptation(self) -> Adaptation:
        """All that is left out or written otherwise."""
        return self.known | self.learned

    @property
    def notes(self) -> tuple[str, ...]:
        """What the model is told of tools that were left out since the last step."""
        lost = self.learned.tools - self.request.adaptation.tools
        return (left_out_note(lost),) if lost else ()

    def lesson(self, refusal: Refusal) -> Lesson | None:
        """Return what the refusal teaches, or None where it is final or teaches nothing new.

        A parameter that the server does not take is one for all runs.
        """
        if isinstance(refusal.fault, ContextTooLong):
            return None
        more = learn(refusal.words, refusal.status, self.request, self.adaptation)
        if more is None:
            return None
        return Lesson(
            for_all=Adaptation(parameters=more.parameters),
            for_run=self.learned | more.without_parameters(),
        )


def in_own_words(request: ToolRequest, renamed: Mapping[str, Mapping[str, str]]) -> ToolRequest:
    """Return the call with the tool's own names of its arguments; see `schemas`."""
    own = renamed.get(request.name)
    if not own:
        return request
    try:
        arguments = json.loads(request.arguments or "{}")
    except (ValueError, RecursionError):
        return request
    if not isinstance(arguments, dict) or not own.keys() & arguments.keys():
        return request
    named = {own.get(key, key): value for key, value in arguments.items()}
    return ToolRequest(
        call_id=request.call_id,
        name=request.name,
        arguments=json.dumps(named, ensure_ascii=False),
    )
