"""The transcript of a task: what the model is sent, and the counts that the loop reads.

It only grows. The same calls build it live and from stored rows, so a task that moved to
another worker goes on exactly where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from agent_runtime.adaptation import NOTHING, Adaptation
from agent_runtime.builtin_tools import LOAD_SKILL, SUBMIT_REPORT
from agent_runtime.finish import Finish
from agent_runtime.limits import Limits, Spent
from agent_runtime.markup import is_written_call, without_thoughts
from agent_runtime.messages import (
    Call,
    CallState,
    Message,
    Turn,
    assistant_message,
    tool_message,
    user_message,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredSkill:
    """The skill that the submitter made mandatory, as resolved at submit."""

    id: str
    name: str


@dataclass(slots=True, kw_only=True)
class Transcript:
    """Messages and counters. Times are POSIX seconds; counters are of the current run."""

    messages: list[Message]
    limits: Limits
    started: float
    skill: RequiredSkill | None = None
    turn: Turn | None = None  # the last one
    steps: int = 0
    tool_calls: int = 0  # planned for servers, built-ins not counted
    spent: Spent = field(default_factory=Spent)
    skill_loaded: bool = False
    skill_reminders: int = 0  # reports that came before the required skill
    nudges: int = 0
    cut_texts: list[str] = field(default_factory=list)
    repeats: int = 0
    steps_before: int = 0  # of the task's earlier runs
    outcomes: Counter[tuple[CallState, str]] = field(default_factory=Counter)  # of all runs
    opening_notes: Sequence[str] = ()  # said before the first step of this run
    offered: Collection[str] = ()  # names of the tools that the model is offered
    call_ids: set[str] = field(default_factory=set)  # of all tool calls
    adaptation: Adaptation = NOTHING  # to what the provider does not take, as found in this run
    _last_call: tuple[str, str, str] | None = None

    @property
    def deadline(self) -> float:
        """When the run's time is used up."""
        return self.started + self.limits.timeout_seconds

    @property
    def must_load_skill(self) -> bool:
        """True until the required skill is loaded."""
        return self.skill is not None and not self.skill_loaded

    @property
    def all_steps(self) -> int:
        """The steps of all runs of the task."""
        return self.steps_before + self.steps

    @property
    def words(self) -> str:
        """What the last answer says, after those that were cut off; without closed thoughts."""
        last = self.turn.answer.text if self.turn else ""
        cut_off = self.turn is not None and self.turn.answer.finish is Finish.CUT
        texts = self.cut_texts if cut_off else [*self.cut_texts, last]
        return without_thoughts("".join(texts)).strip()

    @property
    def is_written_call(self) -> bool:
        """True when those words are a tool call that the model wrote as text."""
        return is_written_call(self.words, offered=self.offered)

    def new_run(self) -> None:
        """Start the counts of another run; the messages stay."""
        self.turn = None
        self.steps_before += self.steps
        self.adaptation = NOTHING
        self.steps = self.tool_calls = self.skill_reminders = self.nudges = self.repeats = 0
        self.spent = Spent()
        self.cut_texts = []
        self._last_call = None

    def add(self, turn: Turn) -> None:
        """Append a committed step. Call `append_results` when its calls have all ended."""
        self.messages.extend(user_message(note) for note in turn.notes)
        self.messages.append(assistant_message(turn.answer.message))
        self.turn = turn
        self.adaptation = turn.answer.adaptation
        self.steps += 1
        self.spent.add(turn.answer.usage)
        self.tool_calls += sum(call.to_server for call in turn.calls)
        self.call_ids.update(request.call_id for request in turn.answer.requests)
        if turn.calls:
            self.cut_texts = []
            if self.must_load_skill:
                self.skill_reminders += any(c.request.name == SUBMIT_REPORT for c in turn.calls)
        elif turn.answer.finish is Finish.CUT:
            self.cut_texts.append(turn.answer.text)
        elif self.must_load_skill:
            self.skill_reminders += 1
        elif not self.words or self.is_written_call:
            self.nudges += 1
        if turn.calls and not turn.open_calls:
            self.append_results()

    def append_results(self) -> None:
        """Append the results of the last step's calls, all of which have ended."""
        assert self.turn is not None
        calls, cut_off = self.turn.calls, self.turn.answer.finish is Finish.CUT
        for call in calls:
            assert call.result is not None
            self.messages.append(tool_message(call.request.call_id, call.result.text))
            if not cut_off or call is calls[-1]:  # a cut answer counts once, however it was cut
                self._count(call, "" if cut_off else call.request.arguments)

    def _count(self, call: Call, arguments: str) -> None:
        assert call.result is not None
        signature = (call.request.name, arguments, call.result.text)
        self.repeats = self.repeats + 1 if signature == self._last_call else 1
        self._last_call = signature
        self.outcomes[call.state, call.request.name] += 1
        if (
            self.skill is not None
            and call.state is CallState.SUCCEEDED
            and call.request.name == LOAD_SKILL
            and (call.arguments or {}).get("id") == self.skill.id
        ):
            self.skill_loaded = True
