"""The loop decides from the transcript alone what happens next."""

import subprocess
import sys
from collections.abc import Sequence

from agent_runtime.builtin_tools import load_skill, submit_report
from agent_runtime.context.context import Context
from agent_runtime.limits import Limits
from agent_runtime.loop import Action, AskModel, RunCalls, next_action
from agent_runtime.messages import (
    CallState,
    ModelAnswer,
    ToolResult,
    Turn,
    system_message,
    user_message,
)
from agent_runtime.outcome import Outcome, StopReason
from agent_runtime.planning import plan_calls
from agent_runtime.prompt import GO_ON, NUDGE_EMPTY, NUDGE_REPEATS
from agent_runtime.report import final_report
from agent_runtime.testing import FakeTools, text_response, tool_call_response
from agent_runtime.transcript import RequiredSkill, Transcript

NOW = 1_000.0
SKILL = RequiredSkill(id="skill-1", name="weekly report")


def new_transcript(
    *,
    skill: RequiredSkill | None = None,
    max_steps: int = 50,
    max_tool_calls: int | None = None,
    timeout_seconds: float = 100.0,
) -> Transcript:
    return Transcript(
        context=Context(head=[system_message("system"), user_message("task")]),
        limits=Limits(
            max_steps=max_steps, max_tool_calls=max_tool_calls, timeout_seconds=timeout_seconds
        ),
        started=NOW,
        skill=skill,
    )


class Toolbox(FakeTools):
    """Two tools of a server and the built-ins."""

    def __init__(self) -> None:
        super().__init__({"search": lambda _: "found", "wipe": lambda _: "wiped"})
        self.offered = (submit_report, load_skill, *self.offered)


def take(transcript: Transcript, answer: ModelAnswer, *, results: Sequence[str] = ()) -> Turn:
    """Append what the model answered; end its calls with the given results, in order."""
    action = next_action(transcript, now=NOW)
    assert isinstance(action, AskModel)
    turn = Turn(
        index=transcript.steps + 1,
        notes=action.notes,
        answer=answer,
        calls=plan_calls(
            answer,
            transcript=transcript,
            toolbox=Toolbox(),
            closing=action.closing is not None,
            keys=[f"key-{index}" for index in range(len(answer.requests))],
        ),
        closing=action.closing,
    )
    transcript.add(turn)
    if turn.open_calls:
        for call, text in zip(turn.open_calls, results, strict=True):
            call.end(ToolResult(text=text))
        transcript.append_results()
    return turn


def decide(transcript: Transcript, *, now: float = NOW) -> Action:
    return next_action(transcript, now=now)


def test_the_loop_loads_neither_django_nor_httpx() -> None:
    code = (
        "import sys, agent_runtime.loop; "
        "print([each for each in ('django', 'httpx', 'httpx2') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_fresh_task_asks_the_model() -> None:
    assert decide(new_transcript()) == AskModel()


def test_words_without_calls_are_the_report() -> None:
    transcript = new_transcript()
    take(transcript, text_response("All done."))
    assert decide(transcript) == Outcome(
        completed=True, reason=StopReason.FINAL_REPORT, report="All done."
    )


def test_calls_of_one_response_are_started_together_and_the_model_is_asked_after_them() -> None:
    transcript = new_transcript()
    answer = tool_call_response(("fake__search", {"q": 1}), ("fake__search", {"q": 2}))
    turn = Turn(
        index=1,
        notes=(),
        answer=answer,
        calls=plan_calls(
            answer, transcript=transcript, toolbox=Toolbox(), closing=False, keys=["a", "b"]
        ),
    )
    transcript.add(turn)
    action = decide(transcript)
    assert isinstance(action, RunCalls)
    assert [(call.key, call.state) for call in action.calls] == [
        ("a", CallState.STARTED),
        ("b", CallState.STARTED),
    ]
    for call in action.calls:
        call.end(ToolResult(text="found"))
    transcript.append_results()
    assert decide(transcript) == AskModel()
    assert transcript.tool_calls == 2


def test_calls_beyond_the_parallel_cap_are_planned_and_not_started() -> None:
    answer = tool_call_response(*[("fake__search", {"q": number}) for number in range(11)])
    calls = plan_calls(
        answer,
        transcript=new_transcript(),
        toolbox=Toolbox(),
        closing=False,
        keys=[str(number) for number in range(11)],
    )
    assert [call.state for call in calls] == [CallState.STARTED] * 8 + [CallState.PLANNED] * 3


def test_an_accepted_report_ends_the_run_with_its_outcome() -> None:
    for outcome, completed, reason in (
        ("completed", True, StopReason.FINAL_REPORT),
        ("incomplete", False, StopReason.AGENT_INCOMPLETE),
    ):
        transcript = new_transcript()
        take(
            transcript,
            tool_call_response(("submit_report", {"outcome": outcome, "report": ("Words.")})),
        )
        assert decide(transcript) == Outcome(completed=completed, reason=reason, report="Words.")


def test_a_report_beside_other_calls_is_not_accepted_and_the_others_run() -> None:
    transcript = new_transcript()
    turn = take(
        transcript,
        tool_call_response(
            ("fake__search", {}), ("submit_report", {"outcome": ("completed"), "report": ("x")})
        ),
        results=["found"],
    )
    assert [call.state for call in turn.calls] == [CallState.SUCCEEDED, CallState.FAILED]
    assert turn.calls[1].result is not None
    assert "again, alone" in turn.calls[1].result.text
    assert decide(transcript) == AskModel()


def test_an_empty_answer_is_nudged_once_and_then_ends_without_a_report() -> None:
    transcript = new_transcript()
    take(transcript, text_response("  "))
    assert decide(transcript) == AskModel(notes=(NUDGE_EMPTY,))
    take(transcript, text_response(""))
    ending = decide(transcript)
    assert ending == Outcome(completed=False, reason=StopReason.NO_FINAL_REPORT)
    assert isinstance(ending, Outcome)
    assert "No tool call succeeded" in final_report(ending, transcript)


def test_an_answer_cut_off_by_length_is_asked_to_go_on_and_joined() -> None:
    transcript = new_transcript()
    take(transcript, text_response("First half, ", finish_reason="length"))
    assert decide(transcript) == AskModel(notes=(GO_ON,))
    take(transcript, text_response("second half."))
    assert decide(transcript) == Outcome(
        completed=True, reason=StopReason.FINAL_REPORT, report="First half, second half."
    )


def test_an_answer_that_is_cut_off_for_ever_ends_the_run_and_keeps_its_words() -> None:
    transcript = new_transcript()
    for _ in range(4):
        take(transcript, text_response("more ", finish_reason="length"))
    ending = decide(transcript)
    assert ending == Outcome(completed=False, reason=StopReason.NO_FINAL_REPORT)
    assert isinstance(ending, Outcome)
    assert "more more more more" in final_report(ending, transcript)


def test_a_required_skill_comes_before_every_other_call() -> None:
    transcript = new_transcript(skill=SKILL)
    turn = take(
        transcript,
        tool_call_response(("fake__wipe", {}), ("load_skill", {"id": "skill-1"})),
        results=["the body"],
    )
    assert [call.state for call in turn.calls] == [CallState.FAILED, CallState.SUCCEEDED]
    assert turn.calls[0].result is not None
    assert "load_skill with the id skill-1" in turn.calls[0].result.text
    assert transcript.skill_loaded
    assert not transcript.tool_calls


def test_loading_another_skill_does_not_count_as_the_required_one() -> None:
    transcript = new_transcript(skill=SKILL)
    turn = take(transcript, tool_call_response(("load_skill", {"id": "skill-2"})))
    assert turn.calls[0].state is CallState.FAILED
    assert not transcript.skill_loaded


def test_a_report_before_the_required_skill_is_answered_once_then_ends_the_run() -> None:
    transcript = new_transcript(skill=SKILL)
    take(transcript, text_response("Done!"))
    action = decide(transcript)
    assert isinstance(action, AskModel)
    assert "skill-1" in action.notes[0]
    take(transcript, text_response("Really done!"))
    ending = decide(transcript)
    assert ending == Outcome(completed=False, reason=StopReason.AGENT_INCOMPLETE)
    assert isinstance(ending, Outcome)
    assert "'weekly report' was never loaded" in final_report(ending, transcript)


def test_a_submitted_report_before_the_required_skill_counts_like_words() -> None:
    transcript = new_transcript(skill=SKILL)
    early = ("submit_report", {"outcome": "completed", "report": "Done!"})
    take(transcript, tool_call_response(early))
    assert isinstance(decide(transcript), AskModel)
    take(transcript, tool_call_response(early))
    assert decide(transcript) == Outcome(completed=False, reason=StopReason.AGENT_INCOMPLETE)


def test_mistakes_of_the_model_are_answered_with_what_it_needs() -> None:
    transcript = new_transcript()
    turn = take(
        transcript,
        tool_call_response(
            ("no_such_tool", {}),
            ("fake__search", "{broken"),
            ("fake__search", "[1]"),
            ("submit_report", {"outcome": "completed"}),
        ),
    )
    texts = [call.result.text for call in turn.calls if call.result]
    assert "There is no tool named 'no_such_tool'" in texts[0]
    assert "fake__search, fake__wipe, load_skill, submit_report" in texts[0]
    assert texts[1].startswith("The arguments are not a JSON object.")
    assert texts[2].startswith("The arguments are not a JSON object.")
    assert "report is missing" in texts[3]
    assert all(call.refused for call in turn.calls)
    assert decide(transcript) == AskModel()


def test_the_limit_on_steps_brings_one_last_call_without_tools() -> None:
    transcript = new_transcript(max_steps=1)
    take(transcript, tool_call_response(("fake__search", {})), results=["found"])
    action = decide(transcript)
    assert isinstance(action, AskModel)
    assert action.closing is StopReason.MAX_STEPS
    take(transcript, text_response("As far as I got."))
    assert decide(transcript) == Outcome(
        completed=False, reason=StopReason.MAX_STEPS, report="As far as I got."
    )


def test_calls_in_the_last_answer_do_not_run() -> None:
    transcript = new_transcript(max_steps=1)
    take(transcript, tool_call_response(("fake__search", {})), results=["found"])
    turn = take(transcript, tool_call_response(("fake__wipe", {})))
    assert turn.calls[0].state is CallState.FAILED
    assert turn.calls[0].refused
    assert decide(transcript) == Outcome(completed=False, reason=StopReason.MAX_STEPS)


def test_calls_beyond_the_limit_do_not_run_and_bring_the_last_call() -> None:
    transcript = new_transcript(max_tool_calls=1)
    turn = take(
        transcript,
        tool_call_response(("fake__search", {"q": 1}), ("fake__wipe", {})),
        results=["found"],
    )
    assert [call.state for call in turn.calls] == [CallState.SUCCEEDED, CallState.CANCELLED]
    assert transcript.tool_calls == 1
    action = decide(transcript)
    assert isinstance(action, AskModel)
    assert action.closing is StopReason.MAX_TOOL_CALLS


def test_the_last_allowed_call_does_not_end_the_run() -> None:
    transcript = new_transcript(max_tool_calls=1)
    take(transcript, tool_call_response(("fake__search", {})), results=["found"])
    assert decide(transcript) == AskModel()


def test_the_time_limit_brings_the_last_call() -> None:
    transcript = new_transcript(timeout_seconds=60)
    take(transcript, tool_call_response(("fake__search", {})), results=["found"])
    assert decide(transcript, now=NOW + 59.9) == AskModel()
    action = decide(transcript, now=NOW + 60)
    assert isinstance(action, AskModel)
    assert action.closing is StopReason.TIMEOUT


def test_the_same_call_with_the_same_result_is_nudged_and_then_ends() -> None:
    transcript = new_transcript()
    for _ in range(2):
        take(transcript, tool_call_response(("fake__search", {"q": 1})), results=["nothing"])
        assert decide(transcript) == AskModel()
    take(transcript, tool_call_response(("fake__search", {"q": 1})), results=["nothing"])
    assert decide(transcript) == AskModel(notes=(NUDGE_REPEATS,))
    for _ in range(2):
        take(transcript, tool_call_response(("fake__search", {"q": 1})), results=["nothing"])
    action = decide(transcript)
    assert isinstance(action, AskModel)
    assert action.closing is StopReason.LOOP_DETECTED


def test_the_same_call_with_another_result_is_no_loop() -> None:
    transcript = new_transcript()
    for number in range(6):
        take(transcript, tool_call_response(("fake__search", {"q": 1})), results=[f"page {number}"])
    assert decide(transcript) == AskModel()


def test_a_call_with_an_unknown_outcome_is_named_in_the_report() -> None:
    transcript = new_transcript()
    answer = tool_call_response(("fake__wipe", {}))
    turn = Turn(
        index=1,
        notes=(),
        answer=answer,
        calls=plan_calls(
            answer, transcript=transcript, toolbox=Toolbox(), closing=False, keys=["a"]
        ),
    )
    transcript.add(turn)
    turn.calls[0].end(ToolResult(text="?", state=CallState.UNKNOWN_OUTCOME))
    transcript.append_results()
    take(transcript, text_response("All done."))
    ending = decide(transcript)
    assert isinstance(ending, Outcome)
    assert final_report(ending, transcript).startswith("All done.\n\nNote of the engine:")
    assert "fake__wipe" in final_report(ending, transcript)


def test_arguments_nested_without_end_or_with_unfit_text_harm_nobody() -> None:
    transcript = new_transcript()
    turn = take(
        transcript,
        tool_call_response(
            ("fake__search", '{"q":' + "[" * 100_000), ("fake__search", '{"q": "a\\u0000b"}')
        ),
        results=["found"],
    )
    assert turn.calls[0].refused
    assert turn.calls[1].arguments == {"q": "ab"}
