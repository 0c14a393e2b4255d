"""What the two servers saw of one task, held against its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.system.chaos.evidence import TaskEvidence
from tests.system.chaos.scenario import digest


def check_effects(found: TaskEvidence, *, answered: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence for everything that is wrong."""
    yield from _ledger(found)
    yield from _requests(found)
    yield from _answers(found, answered)


def _ledger(found: TaskEvidence) -> Iterator[str]:
    """Each effect once, or at least once if it is repeatable; never one that no row asks for."""
    expected = set()
    for step, turn in zip(found.steps, found.script.turns, strict=False):
        calls = [call for call in found.calls[step.index] if call.server]
        for call, scripted in zip(calls, turn.calls, strict=False):
            expected.add(scripted.label)
            arrived = found.arrived.get(scripted.label, [])
            what = f"{scripted.tool} {scripted.label}"
            if len(arrived) > 1 and not call.repeatable:
                yield f"{what} is not repeatable and was sent {len(arrived)} times"
            if not arrived and call.state != "unknown_outcome":
                yield f"{what} is {call.state} and never arrived"
            wrong = {line["key"] for line in arrived} - {str(call.id)}
            if wrong:
                yield f"{what} came with the keys {sorted(wrong)}, not with {call.id}"
    for label in found.arrived.keys() - expected:
        yield f"{label} arrived, and no committed step asks for it"


def _requests(found: TaskEvidence) -> Iterator[str]:
    """Every request shows exactly the steps that are committed before it."""
    seen = {turn: digest(messages) for turn, messages in _transcripts(found)}
    system = digest([found.steps[0].request["system"]]) if found.steps else None
    for line in found.asked:
        if line["turn"] not in seen:
            yield f"the model was asked for turn {line['turn']} of {len(found.script.turns)}"
        elif line["seen"] != seen[line["turn"]]:
            yield f"request {line['id']} for turn {line['turn']} does not show what is committed"
        elif line["turn"] > 1 and line["system"] != system:
            yield f"request {line['id']} for turn {line['turn']} has another system prompt"


def _transcripts(found: TaskEvidence) -> Iterator[tuple[int, list[Any]]]:
    """Yield for each turn what follows the task's message in a request for it."""
    messages: list[Any] = []
    yield 1, []
    for step in found.steps:
        messages += [{"role": "user", "content": note} for note in step.request["notes"]]
        words = step.response.get("content") or None  # blank words go back as null
        messages.append({**step.response, "role": "assistant", "content": words})
        messages += [
            {"role": "tool", "tool_call_id": call.call_id, "content": call.result}
            for call in found.calls[step.index]
        ]
        yield step.index + 1, list(messages)


def _answers(found: TaskEvidence, answered: Mapping[str, float]) -> Iterator[str]:
    """Each step is one whole answer of the model, and the one to a request for that turn."""
    turns = {line["id"]: line["turn"] for line in found.asked}
    for step in found.steps:
        answer = step.provider_request_id
        if answer not in answered:
            yield f"step {step.index} holds the answer {answer}, which was never given whole"
        elif turns.get(answer) != step.index:
            yield f"step {step.index} holds the answer {answer} to turn {turns.get(answer)}"
