"""The transcript of a task: what the model is sent, and the counts that the loop reads.

It only grows. The same calls build it live and from stored rows, so a task that moved to
another worker goes on exactly where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from agent_runtime.adaptation import NOTHING, Adaptation
from agent_runtime.builtin_tools import LOAD_SKILL, READ_RESULT, SUBMIT_REPORT
from agent_runtime.context.context import SKILL_SHARE, SKILL_TOKENS, Context
from agent_runtime.context.cut import cap_of_result, cut_result, is_short, wire_size
from agent_runtime.context.facts import CallFact, signature
from agent_runtime.context.marks import Mark, Summary
from agent_runtime.context.places import Place
from agent_runtime.finish import Finish
from agent_runtime.limits import Limits, Spent
from agent_runtime.markup import is_written_call, without_thoughts
from agent_runtime.messages import (
    Call,
    CallState,
    Message,
    ToolResult,
    Turn,
    Usage,
    assistant_message,
)

MAX_KEPT = 2_000_000  # bytes of one result


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredSkill:
    """The skill that the submitter made mandatory, as resolved at submit."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedStep:
    """A step that a summary stands for, without its texts."""

    index: int
    mark: Mark | None
    usage: Usage
    facts: Sequence[CallFact]
    cut_text: str | None  # the words of an answer that was cut off


@dataclass(slots=True, kw_only=True)
class Transcript:
    """The context and the counters. Times are POSIX seconds; counters are of the current run."""

    context: Context
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
    caller_notes: Sequence[int] = ()  # indexes of those that are the caller's own words
    run_number: int = 1
    learned_window: int | None = None  # that an answer's usage has shown, until it is kept
    offered: Collection[str] = ()  # names of the tools that the model is offered
    call_ids: set[str] = field(default_factory=set)  # of all tool calls
    adaptation: Adaptation = NOTHING  # to what the provider does not take, as found in this run
    _last_call: tuple[str, str, str] | None = None

    @property
    def messages(self) -> Sequence[Message]:
        """What the model would be sent now."""
        return self.context.messages

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

    def new_run(self, run_number: int) -> None:
        """Start the counts of another run; the messages stay."""
        self.turn = None
        self.run_number = run_number
        self.steps_before += self.steps
        self.adaptation = NOTHING
        self.steps = self.tool_calls = self.skill_reminders = self.nudges = self.repeats = 0
        self.spent = Spent()
        self.cut_texts = []
        self._last_call = None

    def add(self, turn: Turn) -> None:
        """Append a committed step. Call `append_results` when its calls have all ended."""
        place = {"run": self.run_number, "step": turn.index}
        if turn.mark is not None:
            self.context.apply(turn.mark)
        for index, note in enumerate(turn.notes):
            self.context.add_note(note, **place, pinned=index in turn.caller_notes)
        self.context.add_answer(assistant_message(turn.answer.message), **place)
        self.learned_window = self.context.add_step(
            turn.mark, **place, prompt_tokens=turn.answer.usage.input_tokens
        )
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

    def add_replaced(self, step: ReplacedStep) -> None:
        """Count a step that a summary stands for, as `add` and `append_results` once did."""
        place = {"run": self.run_number, "step": step.index}
        if step.mark is not None:
            self.context.apply(step.mark)
        self.context.add_step(step.mark, **place, prompt_tokens=step.usage.input_tokens)
        self.steps += 1
        self.spent.add(step.usage)
        self.tool_calls += sum(bool(fact.server) and not fact.refused for fact in step.facts)
        if step.facts:
            self.cut_texts = []
            if self.must_load_skill:
                self.skill_reminders += any(fact.name == SUBMIT_REPORT for fact in step.facts)
        elif step.cut_text is not None:
            self.cut_texts.append(step.cut_text)
        elif self.must_load_skill:
            self.skill_reminders += 1
        else:
            self.nudges += 1
        for fact in step.facts:
            self.context.remember(fact)
            if step.cut_text is None or fact is step.facts[-1]:
                self.outcomes[fact.state, fact.name] += 1
            if self.skill is not None and fact.signature == _load_signature(self.skill):
                self.skill_loaded = self.skill_loaded or fact.state is CallState.SUCCEEDED

    def fit(self, call: Call, result: ToolResult, *, most_kept: int = MAX_KEPT) -> ToolResult:
        """Return the result as the model gets it: cut where it would take too much of the context.

        Call it before the call takes the result. A page of `read_result` is never cut, the body
        of the required skill only where it could not stay anyway. Of the whole text `most_kept`
        bytes are kept.
        """
        assert self.turn is not None
        if call.request.name == READ_RESULT:
            return result
        meter, window = self.context.meter, self.context.window
        if is_short(result.text, window=window, meter=meter, calls=len(self.turn.calls)):
            return result
        ended = [each.result for each in self.turn.calls if each.result is not None]
        tokens = cap_of_result(
            window,
            used=sum(meter.tokens(wire_size(each.text)) for each in ended),
            waiting=len(self.turn.calls) - len(ended),
        )
        if self._is_load_of_required_skill(call):
            tokens = max(tokens, window.share(SKILL_SHARE, SKILL_TOKENS))
        place = Place(self.run_number, self.turn.index, call.index)
        text = cut_result(result.text, tokens=tokens, meter=meter, handle=place.handle)
        if text is result.text:
            return result
        kept = result.text.encode()[:most_kept].decode(errors="ignore")
        complete = len(kept) == len(result.text)
        return replace(result, text=text, whole=kept, size=len(result.text), complete=complete)

    def append_results(self) -> None:
        """Append the results of the last step's calls, all of which have ended."""
        assert self.turn is not None
        calls, cut_off = self.turn.calls, self.turn.answer.finish is Finish.CUT
        for call in calls:
            assert call.result is not None
            self.context.add_result(
                call,
                run=self.run_number,
                step=self.turn.index,
                at=call.at,
                is_skill=self._is_required_skill(call),
            )
            if not cut_off or call is calls[-1]:  # a cut answer counts once, however it was cut
                self._count(call, "" if cut_off else call.request.arguments)

    def _count(self, call: Call, arguments: str) -> None:
        assert call.result is not None
        signature = (call.request.name, arguments, call.result.text)
        self.repeats = self.repeats + 1 if signature == self._last_call else 1
        self._last_call = signature
        self.outcomes[call.state, call.request.name] += 1
        self.skill_loaded = self.skill_loaded or self._is_required_skill(call)

    def _is_required_skill(self, call: Call) -> bool:
        return call.state is CallState.SUCCEEDED and self._is_load_of_required_skill(call)

    def _is_load_of_required_skill(self, call: Call) -> bool:
        return (
            self.skill is not None
            and call.request.name == LOAD_SKILL
            and (call.arguments or {}).get("id") == self.skill.id
        )

    def summary_failed(self, usage: Usage | None) -> None:
        """Count a summary that came to nothing, and ask for none in the next steps."""
        self.context.summary_failed()
        if usage is not None:
            self.spent.add(usage)

    def summarise(self, summary: Summary, usage: Usage) -> None:
        """Let a committed summary stand for the steps that it replaces, and count its call.

        Repeated calls are counted from here on: a rebuild does not read the results before.
        """
        self.context.replace(summary)
        self.spent.add(usage)
        self.repeats, self._last_call = 0, None


def _load_signature(skill: RequiredSkill) -> bytes:
    return signature(server="", tool=LOAD_SKILL, arguments={"id": skill.id})
