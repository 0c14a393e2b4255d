"""How durations, sizes, money and the standing of a task are said to staff."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from tasks_app.queries.status_line import Code, StatusDetail, text

_AHEAD = "Waiting for a free slot for {time}, {ahead} ahead"
_SENTENCES: Mapping[Code, str] = {
    Code.QUEUED: f"{_AHEAD}.",
    Code.RESUMING: f"{_AHEAD}; goes on after step {{steps}}.",
    Code.TAKEN_OVER: "Its worker stopped. " + f"{_AHEAD}; goes on after step {{steps}}.",
    Code.NO_WORKER: "Due for {time}, but no worker is running.",
    Code.PAUSED: "Its {what}: nothing of it starts.",
    Code.WORKER_SILENT: "Its worker stopped answering {time} ago; taken over within {within_time}.",
    Code.STOPPING: "Stopping, as asked: within two seconds.",
    Code.THINKING: "Step {step}: waiting for the model's answer for {time}.",
    Code.CALLING: "Step {step}: waiting for {call} for {time}.",
}
_RETRY = "Waiting to try step {step} again in {time}, after attempt {attempt}: {reason}"
_RETRY_DUE = "Due to try step {step} again for {time}, {ahead} ahead, after attempt {attempt}: "


def staff_status_text(detail: StatusDetail) -> str:
    """Return the sentence for staff, with durations and ranks."""
    given = dict(detail.parameters)
    if "seconds" not in given and detail.code is not Code.PAUSED:
        return text(detail)
    words = _SENTENCES.get(detail.code)
    if detail.code is Code.WAITING_TO_RETRY:
        words = _RETRY_DUE + "{reason}" if given["due"] else _RETRY
    if words is None:
        return text(detail)
    given["time"] = duration(float(given.get("seconds", 0)))
    given["within_time"] = duration(float(given.get("within", 0)))
    return " ".join(words.format(**given).split())


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units; below ten seconds with a decimal."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, size, below, per in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if whole >= size:
            rest = whole % size // per
            return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole} s"


def money(cost: Decimal | float | None) -> str:
    """Return dollars with as many digits as matter; a dash where nobody told."""
    if cost is None:
        return "–"
    return f"${cost:,.2f}" if cost >= 1 or not cost else f"${cost:.4f}"


def size(count: int) -> str:
    """Return a number of bytes."""
    return f"{count / 1000:,.1f} kB" if count >= 1000 else f"{count} B"
