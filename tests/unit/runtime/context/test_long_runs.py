"""A run that is much longer than the model's window does its work once, and ends."""

import json
import re

import pytest

from agent_runtime.context.words import SUMMARY_ORDER
from agent_runtime.messages import ModelAnswer
from agent_runtime.outcome import StopReason
from agent_runtime.testing import FakeTools, text_response, tool_call_response
from tests.unit.runtime.context.scripted import Run, Wire

KEY = re.compile(r"next key (\d+)")
ORDER = SUMMARY_ORDER[:40]


def chain(length: int, *, repeatable: tuple[str, ...] = (), window: int = 32_000) -> Run:
    """Each call of `follow` names the next key in 2 kB; the model goes on from the highest."""

    def model(messages: Wire) -> ModelAnswer:
        text = json.dumps(messages)
        highest = max((int(found) for found in KEY.findall(text)), default=0)
        if messages[-1]["content"] and ORDER in str(messages[-1]["content"]):
            return text_response(f"goal: follow the chain. next key {highest}. TASKWORD")
        if highest >= length:
            return text_response(
                f"done at {highest}, {'TASKWORD' if 'TASKWORD' in text else 'lost'}"
            )
        return tool_call_response(("fake__follow", {"key": highest}))

    behaviours = {"follow": lambda a: f"next key {a['key'] + 1} " + "x" * 2_000}
    tools = FakeTools(dict.fromkeys(behaviours, lambda _: ""), repeatable=repeatable)
    return Run(model=model, tools=tools, behaviours=behaviours, window=window)


@pytest.mark.parametrize("window", [16_000, 32_000])
@pytest.mark.parametrize("repeatable", [(), ("follow",)])
def test_a_chain_of_500_keys_is_followed_once_through(
    window: int, repeatable: tuple[str, ...]
) -> None:
    run = chain(500, repeatable=repeatable, window=window)
    ending = run.play()
    assert (ending.reason, ending.report) == (StopReason.FINAL_REPORT, "done at 500, TASKWORD")
    assert run.sent == [("follow", json.dumps({"key": key})) for key in range(500)]
    assert run.summaries >= 3


def test_another_worker_would_send_the_same_bytes_at_every_step() -> None:
    run = chain(120, window=16_000)
    run.check_rebuild = True
    assert run.play().reason is StopReason.FINAL_REPORT
    assert run.summaries >= 2


def forgetful(*, mails: int, window: int) -> Run:
    """A model that sends a mail to whoever it sees no answer about, in order."""

    def model(messages: Wire) -> ModelAnswer:
        if ORDER in str(messages[-1]["content"]):
            return text_response("goal: one mail to each person")
        results = " ".join(str(each["content"]) for each in messages if each["role"] == "tool")
        seen = {int(found) for found in re.findall(r"sent to (\d+) ", results)}
        missing = [to for to in range(mails) if to not in seen]
        return (
            tool_call_response(("fake__send", {"to": missing[0]}))
            if missing
            else text_response("all sent")
        )

    return Run(
        model=model,
        tools=FakeTools({"send": lambda _: ""}),
        behaviours={"send": lambda a: f"sent to {a['to']} " + "y" * 1_500},
        window=window,
    )


def test_a_model_that_repeats_what_it_does_not_see_makes_no_second_effect() -> None:
    run = forgetful(mails=500, window=20_000)
    ending = run.play()
    assert len(run.sent) == len(set(run.sent))
    assert run.summaries >= 6
    assert ending.reason in (StopReason.LOOP_DETECTED, StopReason.FINAL_REPORT)


def test_a_call_that_is_asked_for_again_beside_its_answer_is_meant_and_sent() -> None:
    asked: list[str] = []

    def model(messages: Wire) -> ModelAnswer:
        if ORDER in str(messages[-1]["content"]):
            return text_response("goal: pay twice")
        if len(asked) == 1 and "1000" not in json.dumps(messages[-1]):
            return tool_call_response(
                ("fake__read", {"page": len(messages), "n": len(json.dumps(messages))})
            )
        asked.append("pay")
        return (
            tool_call_response(("fake__pay", {"to": ("jane")}))
            if len(asked) < 4
            else text_response("paid")
        )

    run = Run(
        model=model,
        tools=FakeTools({"pay": lambda _: "", "read": lambda _: ""}, repeatable=("read",)),
        behaviours={"pay": lambda _: "paid", "read": lambda _: "z" * 1_900 + pages(run)},
        window=8_000,
    )
    run.play()
    paid = [name for name, _ in run.sent if name == "pay"]
    # Once, held back once because the first answer was out of sight, then again as meant.
    assert len(paid) == 2
    told = [
        call.result.text
        for turn in run.turns
        for call in turn.calls
        if call.refused and call.result is not None
    ]
    assert [text.split(":")[0] for text in told] == ["Not sent"]


def pages(run: Run) -> str:
    return " 1000" if run.transcript.context.summary is not None else ""
