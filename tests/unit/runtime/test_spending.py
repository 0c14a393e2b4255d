"""Tokens and money: looked at before they are spent, with the closing call kept in reserve."""

from __future__ import annotations

import dataclasses

from agent_runtime.context.context import Context
from agent_runtime.limits import Limits
from agent_runtime.loop import NO_COST, AskModel
from agent_runtime.messages import ModelAnswer, Usage, system_message, user_message
from agent_runtime.outcome import Outcome, StopReason
from agent_runtime.report import final_report
from agent_runtime.testing import text_response, tool_call_response
from agent_runtime.transcript import Transcript
from tests.unit.runtime.test_loop import NOW, decide, take


def new_transcript(
    *, max_tokens: int | None = None, max_cost_usd: float | None = None, max_steps: int = 50
) -> Transcript:
    return Transcript(
        context=Context(head=[system_message("system"), user_message("task")]),
        limits=Limits(
            max_steps=max_steps,
            max_tool_calls=None,
            timeout_seconds=100.0,
            max_tokens=max_tokens,
            max_cost_usd=max_cost_usd,
        ),
        started=NOW,
    )


def used(answer: ModelAnswer, *, tokens: int = 15, cost: float | None = None) -> ModelAnswer:
    usage = Usage(input_tokens=tokens - 5, output_tokens=5, cost_usd=cost)
    return dataclasses.replace(answer, usage=usage)


def work(transcript: Transcript, *, tokens: int = 15, cost: float | None = None) -> None:
    """Let the model make one more call, unlike those before."""
    answer = tool_call_response(("fake__search", {"q": transcript.steps}))
    take(transcript, used(answer, tokens=tokens, cost=cost), results=["found"])


def closing(transcript: Transcript) -> StopReason | None:
    action = decide(transcript)
    assert isinstance(action, AskModel)
    return action.closing


def test_the_limit_on_tokens_brings_one_last_call_and_what_it_took_too_much_is_told() -> None:
    transcript = new_transcript(max_tokens=1_000)
    work(transcript, tokens=999)
    assert closing(transcript) is None
    work(transcript, tokens=1)
    assert closing(transcript) is StopReason.MAX_TOKENS
    take(transcript, used(text_response("As far as I got."), tokens=1_234))
    ending = decide(transcript)
    assert ending == Outcome(
        completed=False, reason=StopReason.MAX_TOKENS, report="As far as I got."
    )
    assert final_report(ending, transcript) == (
        "As far as I got.\n\nNote of the engine: the run used 2,234 tokens, 1,234 more than its "
        "limit of 1,000."
    )


def test_the_dearest_call_so_far_is_kept_for_the_report() -> None:
    transcript = new_transcript(max_cost_usd=1.0)
    work(transcript, cost=0.3)
    work(transcript, cost=0.1)
    work(transcript, cost=0.2)
    assert closing(transcript) is None, "0.6 and a reserve of 0.3 leave something"
    work(transcript, cost=0.1)
    assert closing(transcript) is StopReason.MAX_COST
    take(transcript, used(text_response("As far as I got."), cost=0.3))
    ending = decide(transcript)
    assert ending == Outcome(completed=False, reason=StopReason.MAX_COST, report="As far as I got.")
    assert final_report(ending, transcript) == "As far as I got.", "it kept the limit"


def test_a_single_dear_call_overshoots_and_by_how_much_is_told() -> None:
    transcript = new_transcript(max_cost_usd=0.5)
    take(transcript, used(text_response("All done."), cost=0.75))
    ending = decide(transcript)
    assert ending == Outcome(completed=True, reason=StopReason.FINAL_REPORT, report="All done.")
    assert final_report(ending, transcript) == (
        "All done.\n\nNote of the engine: the run cost 0.750000 USD, 0.250000 more than its limit "
        "of 0.500000."
    )


def test_without_a_cost_there_is_no_second_call_and_the_account_says_why() -> None:
    transcript = new_transcript(max_cost_usd=5.0)
    assert decide(transcript) == AskModel()
    work(transcript, cost=None)
    ending = decide(transcript)
    assert ending == Outcome(completed=False, reason=StopReason.MAX_COST, detail=NO_COST)
    assert (
        "It stopped because the limit on cost allows no further call of the model: the model's "
        "provider does not say what a call costs."
    ) in final_report(ending, transcript)


def test_without_a_cost_no_other_limit_brings_the_closing_call_either() -> None:
    transcript = new_transcript(max_cost_usd=5.0, max_steps=1)
    work(transcript, cost=None)
    assert decide(transcript) == Outcome(
        completed=False, reason=StopReason.MAX_COST, detail=NO_COST
    )


def test_a_report_in_the_first_answer_needs_no_cost() -> None:
    transcript = new_transcript(max_cost_usd=5.0)
    take(transcript, used(text_response("All done."), cost=None))
    assert decide(transcript) == Outcome(
        completed=True, reason=StopReason.FINAL_REPORT, report="All done."
    )


def test_a_model_that_costs_nothing_is_not_one_without_a_cost() -> None:
    transcript = new_transcript(max_cost_usd=0.01)
    work(transcript, cost=0.0)
    assert decide(transcript) == AskModel()


def test_without_a_limit_neither_tokens_nor_an_unknown_cost_end_a_run() -> None:
    transcript = new_transcript()
    work(transcript, tokens=10**9, cost=10.0**6)
    work(transcript, cost=None)
    assert decide(transcript) == AskModel()


def test_another_run_begins_with_nothing_spent() -> None:
    transcript = new_transcript(max_tokens=15, max_cost_usd=1.0)
    work(transcript, cost=None)
    transcript.new_run(2)
    assert decide(transcript) == AskModel()
    assert (transcript.spent.tokens, transcript.spent.cost_unknown) == (0, False)


def test_what_a_run_was_to_say_first_is_said_even_where_its_time_is_up_before() -> None:
    transcript = new_transcript()
    transcript.opening_notes = ("Now name the customers.",)
    action = decide(transcript, now=NOW + 100)
    assert isinstance(action, AskModel)
    assert action.closing is StopReason.TIMEOUT
    assert action.notes[0] == "Now name the customers."
    assert action.notes[1].startswith("The run ends here: the time limit was reached.")
