"""What each task of a chaos run is to do: a script, made from the seed and the task's number alone.

The model server plays it, the checker holds the rows and the ledger against it.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MODEL = "chaos/script"
MAX_TURNS = 12
BIG = 40_000  # characters of a big result

# Tools of the ledger, and whether a call of them may be sent twice.
REPEATABLE = {"append": False, "refuse": False, "put": True, "lookup": True, "big": True}


class Ending(StrEnum):
    """How a script ends."""

    WORDS = "words"  # the report as plain text
    SUBMIT = "submit"  # submit_report, completed
    INCOMPLETE = "incomplete"  # submit_report, incomplete
    REFUSED = "refused"  # the provider wants to be paid: final at once


class Trouble(StrEnum):
    """What the model server does instead of answering."""

    UNAVAILABLE = "503"
    BUSY = "429 with Retry-After"
    CUT = "cut stream"
    ERROR_INSIDE = "error inside a 200"
    UNPAID = "402"


PASSING = (Trouble.UNAVAILABLE, Trouble.BUSY, Trouble.CUT, Trouble.ERROR_INSIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedCall:
    """A tool call: `label` is unique in the run, `pause` is how long the tool takes, in seconds."""

    tool: str
    label: str
    pause: float

    @property
    def name(self) -> str:
        """The tool's name as the model says it."""
        return f"ledger__{self.tool}"

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes along."""
        return {"label": self.label, "pause": self.pause}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedTurn:
    """One turn: first the troubles, a request each, then the answer after `think` seconds."""

    calls: tuple[ScriptedCall, ...]
    troubles: tuple[Trouble, ...]
    think: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A task's script. The last turn holds no calls of the ledger: it ends the run."""

    name: str
    turns: tuple[ScriptedTurn, ...]
    ending: Ending

    @property
    def prompt(self) -> str:
        """What is submitted."""
        return f"Do {self.name}."

    @property
    def steps(self) -> int:
        """How many steps are committed in the end."""
        return len(self.turns) - (self.ending is Ending.REFUSED)

    @property
    def status(self) -> str:
        """How the task ends."""
        if self.ending is Ending.REFUSED:
            return "FAILED"
        return "INCOMPLETE" if self.ending is Ending.INCOMPLETE else "COMPLETED"

    @property
    def report(self) -> str:
        """The report that the agent writes."""
        return f"{self.name} ends after {len(self.turns)} turns: {self.ending.value}."


def name_of(number: int) -> str:
    """Return the name of a task."""
    return f"task-{number:05d}"


def number_in(text: str) -> int:
    """Return the number of the task that a prompt names. Raises ValueError."""
    found = re.search(r"task-(\d{5})", text)
    if found is None:
        raise ValueError(f"No task is named in {text[:100]!r}.")
    return int(found[1])


def script_of(*, seed: int, number: int) -> Script:
    """Return the script of a task."""
    dice = random.Random(f"{seed}/{number}")
    name = name_of(number)
    turns = [_turn(dice, name, turn) for turn in range(1, dice.randint(1, MAX_TURNS) + 1)]
    ending = dice.choices(list(Ending), weights=[70, 15, 10, 5])[0]
    last = turns[-1]
    troubles = (Trouble.UNPAID,) if ending is Ending.REFUSED else last.troubles
    turns[-1] = ScriptedTurn(calls=(), troubles=troubles, think=last.think)
    return Script(name=name, turns=tuple(turns), ending=ending)


def _turn(dice: random.Random, name: str, turn: int) -> ScriptedTurn:
    many = dice.choices([1, dice.randint(2, 4), 10], weights=[70, 24, 6])[0]
    troubles = dice.choices([0, 1, 2, 3], weights=[93, 4, 2, 1])[0]
    return ScriptedTurn(
        calls=tuple(_call(dice, f"{name}/{turn}/{index}") for index in range(many)),
        troubles=tuple(dice.choice(PASSING) for _ in range(troubles)),
        think=_seconds(dice),
    )


def _call(dice: random.Random, label: str) -> ScriptedCall:
    tool = dice.choices(list(REPEATABLE), weights=[45, 6, 20, 26, 3])[0]
    return ScriptedCall(tool=tool, label=label, pause=_seconds(dice))


def _seconds(dice: random.Random) -> float:
    """Mostly quick, sometimes slow, seldom longer than a drain."""
    slow = dice.choices([(0.01, 0.15), (0.4, 1.2), (2.0, 4.0)], weights=[80, 17, 3])[0]
    return round(dice.uniform(*slow), 3)


def result_of(*, tool: str, label: str) -> str:
    """Return the text with which the ledger answers a call."""
    if tool == "big":
        return (f"{label} is big. " * (BIG // 20))[:BIG]
    return f"{tool}: {label}"


def digest(messages: Sequence[Any]) -> str:
    """Return a digest of messages that does not depend on the order of their keys."""
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
