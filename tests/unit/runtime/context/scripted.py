"""A run without a worker: the loop, a model that is a function of what it is sent, and tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent_runtime.builtin_tools import read_result
from agent_runtime.context.context import Context
from agent_runtime.context.marks import Mark, Summary
from agent_runtime.context.places import Place
from agent_runtime.context.window import Window, WindowSource
from agent_runtime.context.words import SUMMARY_ORDER
from agent_runtime.limits import Limits
from agent_runtime.loop import Action, AskModel, RunCalls, Summarise, next_action
from agent_runtime.messages import (
    ModelAnswer,
    ToolResult,
    Turn,
    Usage,
    system_message,
    user_message,
)
from agent_runtime.outcome import Outcome
from agent_runtime.planning import plan_calls
from agent_runtime.testing import FakeTools
from agent_runtime.transcript import ReplacedStep, Transcript

Wire = list[dict[str, Any]]
BYTES_A_TOKEN = 3.5


def tokens_of(messages: Wire) -> int:
    return int(len(json.dumps(messages, ensure_ascii=False).encode()) / BYTES_A_TOKEN)


@dataclass(kw_only=True)
class Run:
    """`model` answers from the messages alone; what would not fit `window` fails the test."""

    model: Callable[[Wire], ModelAnswer]
    tools: FakeTools
    behaviours: Mapping[str, Callable[[Mapping[str, Any]], str]]
    window: int
    sent: list[tuple[str, str]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    journal: list[Turn | Summary] = field(default_factory=list)
    check_rebuild: bool = False
    summaries: int = 0
    largest: int = 0
    transcript: Transcript = field(init=False)

    def __post_init__(self) -> None:
        self.tools.offered = (read_result, *self.tools.offered)
        self.transcript = self._new_transcript()

    def _new_transcript(self) -> Transcript:
        return Transcript(
            context=Context(
                head=[system_message("system"), user_message("task TASKWORD")],
                window=Window(tokens=self.window, source=WindowSource.SETTING),
            ),
            limits=Limits(max_steps=2_000, max_tool_calls=None, timeout_seconds=1e9),
            started=0.0,
        )

    def play(self, *, most: int = 3_000) -> Outcome:
        for _ in range(most):
            action = next_action(self.transcript, now=1.0)
            if self.check_rebuild:
                self._compare(action)
            match action:
                case Outcome():
                    return action
                case AskModel():
                    self._step(action)
                case Summarise():
                    self._summarise(action)
                case RunCalls():
                    raise AssertionError("calls are answered in the step that planned them")
        raise AssertionError("the run does not end")

    def _compare(self, action: Action) -> None:
        copy = self.rebuilt()
        assert next_action(copy, now=1.0) == action
        mark = getattr(action, "mark", None)
        if mark is not None:
            assert getattr(next_action(copy, now=1.0), "mark", None) == mark
            copy.context.apply(mark)
            self.transcript.context.apply(mark)
        assert list(copy.messages) == list(self.transcript.messages)

    def _ask(self, wire: list[bytes]) -> ModelAnswer:
        self.requests.append(b",".join(wire))
        messages = [json.loads(each) for each in wire]
        tokens = tokens_of(messages)
        assert tokens < self.window, f"{tokens} tokens for a window of {self.window}"
        self.largest = max(self.largest, tokens)
        answer = self.model(messages)
        return ModelAnswer(
            message=answer.message,
            text=answer.text,
            requests=answer.requests,
            finish_reason=answer.finish_reason,
            usage=Usage(input_tokens=tokens, output_tokens=10),
        )

    def _step(self, action: AskModel) -> None:
        context = self.transcript.context
        assert action.mark is not None
        context.apply(action.mark)
        notes = [user_message(note) for note in action.notes]
        answer = self._ask([each.wire for each in (*context.messages, *notes)])
        turn = Turn(
            index=self.transcript.steps + 1,
            notes=action.notes,
            answer=answer,
            calls=plan_calls(
                answer,
                transcript=self.transcript,
                toolbox=self.tools,
                closing=action.closing is not None,
                keys=[f"key-{index}" for index, _ in enumerate(answer.requests)],
            ),
            closing=action.closing,
            mark=action.mark,
        )
        self.transcript.add(turn)
        open_calls = turn.open_calls
        for call in open_calls:
            assert call.tool is not None
            self.sent.append((call.tool.tool, call.request.arguments))
            result = ToolResult(text=self.behaviours[call.tool.tool](call.arguments or {}))
            call.end(self.transcript.fit(call, result))
        if open_calls:
            self.transcript.append_results()
        self.journal.append(turn)

    def _summarise(self, action: Summarise) -> None:
        context = self.transcript.context
        context.apply(action.mark)
        order = user_message(SUMMARY_ORDER.format(tokens=1_000))
        answer = self._ask([each.wire for each in (*context.messages, order)])
        summary = context.summary_of(answer.text)
        self.transcript.summarise(summary, answer.usage)
        self.journal.append(summary)
        self.summaries += 1

    @property
    def turns(self) -> list[Turn]:
        """The steps of the journal."""
        return [each for each in self.journal if isinstance(each, Turn)]

    def rebuilt(self) -> Transcript:
        """Return the transcript as another worker builds it from what the journal keeps.

        Of the steps that the last summary replaced it reads the facts alone.
        """
        summaries = [each for each in self.journal if isinstance(each, Summary)]
        through = summaries[-1].through if summaries else Place(0, 0, 0)
        copy = self._new_transcript()
        for entry in self.journal:
            if isinstance(entry, Summary):
                copy.summarise(entry, Usage())
            elif (1, entry.index) <= (through.run, through.step):
                copy.add_replaced(self._replaced(entry))
            else:
                copy.add(self._stored(entry))
        return copy

    def _stored(self, turn: Turn) -> Turn:
        """Return the turn as its row gives it: tools by name alone, the mark through JSON."""
        assert turn.mark is not None
        calls = [
            replace(
                call,
                tool=call.tool and replace(call.tool, description="", schema={}),
                result=call.result and ToolResult(text=call.result.text, size=call.result.size),
            )
            for call in turn.calls
        ]
        mark = Mark.from_json(json.loads(json.dumps(turn.mark.as_json())))
        return replace(turn, calls=calls, mark=mark)

    def _replaced(self, turn: Turn) -> ReplacedStep:
        facts = [
            fact
            for place, fact in self.transcript.context.facts.items()
            if (place.run, place.step) == (1, turn.index)
        ]
        return ReplacedStep(
            index=turn.index,
            mark=turn.mark,
            usage=turn.answer.usage,
            facts=facts,
            cut_text=turn.answer.text if turn.answer.finish_reason == "length" else None,
        )
