"""Results that are too long for the context: cut to head and tail, and read on in pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent_runtime.context.places import Place
from agent_runtime.context.window import TokenMeter, Window
from agent_runtime.messages import encode

PAGE = 20_000  # characters of one page of read_result
MAX_PLACES = 5  # that `find` returns
MAX_BYTES = 6  # that one character takes in a request's JSON
EXCERPT = 160  # characters around a place that was found
MAX_RESULT_SHARE = 0.10  # of the usable window, for one result
MAX_RESULT_TOKENS = 20_000
MAX_STEP_SHARE = 0.30  # of the usable window, for all results of one step


def cap_of_result(window: Window, *, used: int, waiting: int) -> int:
    """Return the tokens that the next result of a step may take.

    `used` is what the step's other results took, `waiting` counts the calls without a result,
    this one included. A result that arrives early gets its share, not what is left of all.
    """
    left = window.share(MAX_STEP_SHARE) - used
    return max(0, min(window.share(MAX_RESULT_SHARE, MAX_RESULT_TOKENS), left // max(1, waiting)))


def is_short(text: str, *, window: Window, meter: TokenMeter, calls: int) -> bool:
    """Tell at a glance that a result fits its share of a step of so many calls."""
    share = min(
        window.share(MAX_RESULT_SHARE, MAX_RESULT_TOKENS), window.share(MAX_STEP_SHARE) // calls
    )
    return len(text) * MAX_BYTES <= meter.size(share)


def cut_result(text: str, *, tokens: int, meter: TokenMeter, handle: str) -> str:
    """Return the text, or its head and tail with a notice where it takes more than `tokens`.

    The notice says how long the text is and how `read_result` reads on.
    """
    room = meter.size(tokens)
    if len(text) <= room and wire_size(text) <= room:
        return text
    each = _half(text, room)
    notice = (
        f"[cut: {len(text):,} characters, the first and last {each:,} shown; read on with "
        f"read_result, handle {handle} , next offset {each}]"
    )
    return f"{text[:each]}\n{notice}\n{text[len(text) - each :]}" if each else notice


def wire_size(text: str) -> int:
    """Return the bytes that a text takes in a request's JSON."""
    return len(encode(text))


def head_within(text: str, *, room: int) -> str:
    """Return the text, or as much of its beginning as takes about `room` bytes in a request."""
    size = wire_size(text)
    while size > room and text:
        text = text[: min(len(text) - 1, len(text) * room // size)]
        size = wire_size(text)
    return text


def _half(text: str, room: int) -> int:
    """Return how many characters of each end fit half of `room` bytes each."""
    low, high = 0, min(len(text) // 2, room // 2)
    while low < high:
        middle = (low + high + 1) // 2
        ends = wire_size(text[:middle]), wire_size(text[len(text) - middle :])
        if sum(ends) <= room:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """A whole result as it is kept. `complete` is False where even that was cut."""

    place: Place
    label: str
    text: str
    complete: bool = True


def read_page(result: StoredResult, *, offset: int) -> str:
    """Return one page of a result from `offset` characters on, with where to read next."""
    text = result.text
    if offset >= len(text) > 0:
        return f"{result.place.handle} has {len(text):,} characters: offset {offset:,} is past it."
    end = min(offset + PAGE, len(text))
    whole = "" if result.complete else " of what was kept; the result was longer"
    head = f"[{result.place.handle}: characters {offset:,} to {end:,} of {len(text):,}{whole}"
    onward = f"; next offset {end}]" if end < len(text) else "; this is the end]"
    return f"{head}{onward}\n{text[offset:end]}"


def find_in(results: Iterable[StoredResult], *, find: str, offset: int = 0) -> str:
    """Return up to MAX_PLACES places of a plain text, each with its handle and offset.

    Letters match in any case. `offset` skips what lies before it, in every result.
    """
    found = list(_places(results, find, offset))
    if not found:
        return f"{find[:200]!r} is not found."
    more = " There may be more: search on from the last offset." if len(found) > MAX_PLACES else ""
    return "\n".join(found[:MAX_PLACES]) + more


def _places(results: Iterable[StoredResult], find: str, offset: int) -> Iterator[str]:
    pattern = re.compile(re.escape(find), re.IGNORECASE)
    count = 0
    for result in results:
        for match in pattern.finditer(result.text, offset):
            start = max(0, match.start() - EXCERPT // 2)
            excerpt = " ".join(result.text[start : match.end() + EXCERPT // 2].split())
            yield f"- {result.place.handle} offset {match.start()} ({result.label}): …{excerpt}…"
            count += 1
            if count > MAX_PLACES:
                return
