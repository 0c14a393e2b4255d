"""The checker sees each kind of damage, and sees none where there is none."""

import dataclasses
import datetime
from collections.abc import Callable

import pytest

from tests.system.chaos.check_effects import check_effects
from tests.system.chaos.check_rows import check_rows
from tests.system.chaos.evidence import TaskEvidence
from tests.system.chaos.reference_run import WORKER, perfect
from tests.system.chaos.scenario import Ending, script_of

LABEL = "task-00001/1/0"  # append, not repeatable
ANSWERED = {"gen-1": 0.0, "gen-2": 0.0}


def verdict(found: TaskEvidence) -> list[str]:
    return [
        *check_rows(found, workers={WORKER.id: WORKER}),
        *check_effects(found, answered=ANSWERED),
    ]


def test_a_task_that_went_as_scripted_is_fine() -> None:
    assert verdict(perfect()) == []


def step_lost(found: TaskEvidence) -> None:
    del found.steps[1]


def effect_twice(found: TaskEvidence) -> None:
    found.arrived[LABEL] *= 2


def effect_lost(found: TaskEvidence) -> None:
    del found.arrived[LABEL]


def effect_of_nobody(found: TaskEvidence) -> None:
    found.arrived["task-00001/9/0"] = [{"label": "task-00001/9/0", "key": "k"}]


def doubt_unnamed(found: TaskEvidence) -> None:
    found.calls[1][0].state = "unknown_outcome"


def double_number(found: TaskEvidence) -> None:
    found.calls[1][1].completed_sequence = found.calls[1][0].completed_sequence


def late_claim(found: TaskEvidence) -> None:
    found.events[0].at = WORKER.lease_until + datetime.timedelta(seconds=1)


def orphaned(found: TaskEvidence) -> None:
    del found.events[1]


def shown_something_else(found: TaskEvidence) -> None:
    found.asked[1] = {**found.asked[1], "seen": "0"}


def answered_by_half(found: TaskEvidence) -> None:
    found.steps[0].provider_request_id = "gen-9"


def another_report(found: TaskEvidence) -> None:
    found.task.report = "Done."


def refused(found: TaskEvidence, *, report: str | None) -> None:
    found.script = dataclasses.replace(found.script, ending=Ending.REFUSED)
    found.task.status, found.task.error, found.task.report = "FAILED", "(HTTP 402)", report


def refused_without_an_account(found: TaskEvidence) -> None:
    refused(found, report=None)


def refused_with_a_doubt_unnamed(found: TaskEvidence) -> None:
    refused(found, report="The agent wrote no report.")
    found.calls[1][0].state = "unknown_outcome"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (step_lost, "the steps are [(1, 1)], scripted 1 to 2"),
        (effect_twice, f"append {LABEL} is not repeatable and was sent 2 times"),
        (effect_lost, f"append {LABEL} is succeeded and never arrived"),
        (effect_of_nobody, "task-00001/9/0 arrived, and no committed step asks for it"),
        (doubt_unnamed, "the report does not name the unknown outcome of ledger__append"),
        (double_number, "the sequence to 8 has gaps [6] and doubles [5]"),
        (late_claim, "event 1: claimed by a worker whose lease had run out"),
        (orphaned, "nobody let go of it"),
        (shown_something_else, "request gen-2 for turn 2 does not show what is committed"),
        (answered_by_half, "step 1 holds the answer gen-9, which was never given whole"),
        (refused_without_an_account, "failed after 1 steps with the report None"),
        (refused_with_a_doubt_unnamed, "1 unknown outcomes, but the note says ''"),
        (another_report, "the report is 'Done.', scripted 'task-00001 ends after 2 turns: words.'"),
    ],
)
def test_damage_is_named(damage: Callable[[TaskEvidence], None], sentence: str) -> None:
    found = perfect()
    damage(found)
    assert sentence in verdict(found)


def test_a_script_depends_on_seed_and_number_alone() -> None:
    assert script_of(seed=7, number=3) == script_of(seed=7, number=3)
    assert script_of(seed=7, number=3) != script_of(seed=8, number=3)


def test_a_hundred_scripts_hold_every_tool_and_every_ending() -> None:
    scripts = [script_of(seed=1, number=number) for number in range(100)]
    calls = [call for script in scripts for turn in script.turns for call in turn.calls]
    assert {call.tool for call in calls} == {"append", "refuse", "put", "lookup", "big"}
    assert {script.ending for script in scripts} == set(Ending)
    assert len({call.label for call in calls}) == len(calls)
