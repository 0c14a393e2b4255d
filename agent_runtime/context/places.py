"""Where a tool call stands in its task, and the handle of its result."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Where a call stands in its task: run and step from 1, call from 0. Places are ordered."""

    run: int
    step: int
    call: int

    @property
    def handle(self) -> str:
        """The name of the call's result for `read_result`."""
        return f"r{self.run}-{self.step}-{self.call}"

    @classmethod
    def parse(cls, handle: str) -> Place | None:
        """Return the place that a handle names, or None for any other text."""
        run, step, call = (*handle.removeprefix("r").split("-", 3), "", "", "")[:3]
        parts = (run, step, call)
        if handle != f"r{'-'.join(parts)}" or not all(p.isdecimal() and len(p) < 10 for p in parts):
            return None
        return cls(int(run), int(step), int(call))
