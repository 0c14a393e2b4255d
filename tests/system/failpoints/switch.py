"""The switch: every commit of the engine passes here, and at one of them the process dies.

In tests alone. What is wrapped is the function that commits; dying before it means that
nothing was written, dying after it that everything was and nobody heard of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ParamSpec, TypeVar

Params = ParamSpec("Params")
Result = TypeVar("Result")


class Moment(StrEnum):
    """On which side of the commit."""

    BEFORE = "before"
    AFTER = "after"


class Killed(Exception):
    """Stands for the end of the process, where the test itself is the process."""


def _raise() -> None:
    raise Killed


@dataclass(kw_only=True)
class Failpoints:
    """`die` is called at the `number`-th commit (from 0), `moment` it. `passed` names them all."""

    number: int | None = None
    moment: Moment = Moment.BEFORE
    die: Callable[[], None] = _raise
    passed: list[str] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether the play got as far as the commit at which to die."""
        return self.number is not None and len(self.passed) > self.number

    def at(self, name: str, commit: Callable[Params, Result]) -> Callable[Params, Result]:
        """Return the function that commits, with a failpoint on both sides."""

        def guarded(*args: Params.args, **kwargs: Params.kwargs) -> Result:
            here = len(self.passed) == self.number
            self.passed.append(name)
            if here and self.moment is Moment.BEFORE:
                self.die()
            result = commit(*args, **kwargs)
            if here and self.moment is Moment.AFTER:
                self.die()
            return result

        return guarded
