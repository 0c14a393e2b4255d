"""The messages of a context, each with what is needed to take it out of sight later."""

from __future__ import annotations

import json
from dataclasses import dataclass

from agent_runtime.arguments import parse_arguments
from agent_runtime.builtin_tools import READ_RESULT
from agent_runtime.context.facts import (
    SHORT_ARGUMENTS,
    SHORT_RESULT,
    CallFact,
    shortened,
    signature,
)
from agent_runtime.context.places import Place
from agent_runtime.context.words import masked_line, pinned_skill
from agent_runtime.messages import CallState, Message, Tool, tool_message


@dataclass(slots=True, kw_only=True)
class Item:
    """One message of the transcript; a result knows its call.

    What the ledger needs of a call is read from the messages when the call leaves the model's
    sight: most runs never get there, and a thousand of them are in memory.
    """

    message: Message
    place: Place
    pinned: bool = False  # stays word for word
    is_skill: bool = False  # the required skill's body, pinned where it is short enough
    arguments: str = ""  # as the tool's own schema names them
    tool: Tool | None = None
    call_id: str = ""
    name: str = ""
    state: CallState | None = None  # of a result; None for any other message
    refused: bool = False
    size: int = 0  # characters of the whole result
    at: str = ""
    masked: bool = False
    _line: Message | None = None
    _fact: CallFact | None = None

    @property
    def step(self) -> tuple[int, int]:
        """The run and the step that the message belongs to."""
        return self.place.run, self.place.step

    @property
    def bytes(self) -> int:
        """What the message takes in a request."""
        return len(self.message.wire) + 1

    @property
    def is_result(self) -> bool:
        """True for the result of a call."""
        return self.state is not None

    @property
    def can_be_masked(self) -> bool:
        """True for a result that is shown whole and need not stay."""
        return self.is_result and not self.masked and not self.pinned

    @property
    def line(self) -> Message:
        """The message that stands for a masked result."""
        if self._line is None:
            self._line = tool_message(self.call_id, self.line_text)
        return self._line

    @property
    def line_text(self) -> str:
        """What that message says."""
        return masked_line(self.fact)

    @property
    def fact(self) -> CallFact:
        """What is remembered of a result."""
        if self._fact is None:
            self._fact = self._read_fact()
        return self._fact

    def mask(self) -> None:
        """Show one line in place of the result."""
        self.message = self.line
        self.masked = True
        self._line = None

    def pinned_text(self, skill: str) -> str:
        """Return the text that stays when the message is summarised; `skill` names the skill."""
        text = _content(self.message)
        if not self.is_skill:
            return text
        return pinned_skill(skill, text if self.pinned else self.line_text)

    def _read_fact(self) -> CallFact:
        assert self.state is not None
        parsed = parse_arguments(self.arguments)
        server, tool = (self.tool.server, self.tool.tool) if self.tool else ("", "")
        return CallFact(
            place=self.place,
            name=self.name,
            server=server,
            tool=tool,
            arguments=shortened(self.arguments, SHORT_ARGUMENTS),
            signature=signature(
                server=server, tool=tool or self.name, arguments=parsed, text=self.arguments
            ),
            state=self.state,
            repeatable=self.tool.repeatable if self.tool else True,
            refused=self.refused,
            head=shortened(_content(self.message), SHORT_RESULT),
            size=self.size,
            at=self.at,
            shown_handle=str((parsed or {}).get("handle") or "")
            if self.name == READ_RESULT
            else "",
        )


def _content(message: Message) -> str:
    return str(json.loads(message.wire).get("content") or "")
