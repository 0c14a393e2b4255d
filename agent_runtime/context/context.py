"""The context of a task: the messages of its next request, and what has left the model's sight.

A pure function of the transcript and of the marks that are journalled with its steps: built
again from the rows, the messages are byte for byte the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from agent_runtime.context.cut import wire_size
from agent_runtime.context.facts import CallFact, signature
from agent_runtime.context.items import Item
from agent_runtime.context.ledger import ledger_of
from agent_runtime.context.marks import Mark, Summary
from agent_runtime.context.places import Place
from agent_runtime.context.window import TokenMeter, Window
from agent_runtime.context.words import summary_text
from agent_runtime.messages import Call, CallState, Message, tool_message, user_message

MASK_AT = 0.60  # of the usable window
MASK_UNTIL = 0.40
MIN_GAIN = 0.05  # a smaller gain is not worth a provider's prompt cache
SPARED_CALLS = 10  # the last ones, as far as they fit SPARED_SHARE
SPARED_SHARE = 0.25
SUMMARISE_AT = 0.80
HALF_FULL = 0.50
KEPT_SHARE = 0.25  # the end that a summary does not replace
KEPT_TOKENS = 20_000
SUMMARY_SHARE = 0.10  # what a summary may take, and its ledger
SUMMARY_TOKENS = 4_000
STEPS_BETWEEN = 5  # from one summary to the next
BARREN_SUMMARIES = 3  # without a new successful call between them: the run is going in a circle
SKILL_SHARE = 0.15  # the required skill's body stays whole up to this
SKILL_TOKENS = 8_000
PINNED_SHARE = 0.50
LAST_CALL = 10**9  # beyond any call of a step
BEGINNING = Place(0, 0, 0)


class Verdict(Enum):
    """What a request needs before it can be sent."""

    FITS = "fits"
    SUMMARISE = "summarise"  # a summary first
    CIRCLE = "circle"  # it would be the third one without anything new done
    FULL = "full"  # nothing can make it fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the next request is made, or why it is not."""

    verdict: Verdict
    mark: Mark


@dataclass(slots=True, kw_only=True)
class Context:
    """Grows with the transcript; `apply` and `replace` take out of sight what was decided.

    `head` is the system prompt and the task. `tools_size` is what the tools add to a request,
    in bytes. Meters are kept by model.
    """

    head: Sequence[Message]
    tools_size: int = 0
    window: Window = field(default_factory=Window)
    summaries_allowed: bool = True
    model: str = ""
    messages: list[Message] = field(default_factory=list)
    facts: dict[Place, CallFact] = field(default_factory=dict)  # of calls out of sight
    summary: Summary | None = None
    masked: Place | None = None
    steps_since_summary: int = STEPS_BETWEEN
    _items: list[Item] = field(default_factory=list)
    _bytes: int = 0
    _meters: dict[str, TokenMeter] = field(default_factory=dict)
    _summary_ends: list[Place] = field(default_factory=list)  # the last step before each summary
    _last: Place = BEGINNING

    def __post_init__(self) -> None:
        self._rebuild()

    @property
    def tokens(self) -> int:
        """The estimated size of the next request, without notes."""
        return self.meter.tokens(self._bytes + self.tools_size)

    @property
    def last(self) -> Place:
        """The last step."""
        return self._last

    @property
    def meter(self) -> TokenMeter:
        """The meter of the model in force."""
        return self._meters.setdefault(self.model, TokenMeter())

    # Growing with the transcript

    def add_note(self, text: str, *, run: int, step: int, pinned: bool = False) -> None:
        """Append what was said to the model; the caller's own words are `pinned`."""
        self._append(Item(message=user_message(text), place=Place(run, step, 0), pinned=pinned))

    def add_answer(self, message: Message, *, run: int, step: int) -> None:
        """Append an answer of the model."""
        self._append(Item(message=message, place=Place(run, step, 0)))

    def add_step(self, mark: Mark | None, *, run: int, step: int, prompt_tokens: int) -> int | None:
        """Count a committed step; returns a window that its usage has shown to be smaller."""
        self._last = Place(run, step, 0)
        self.steps_since_summary += 1
        if mark is None:
            return None
        self.window = mark.window
        return self.meter.observe(sent=mark.sent, prompt_tokens=prompt_tokens)

    def add_result(
        self, call: Call, *, run: int, step: int, at: str = "", is_skill: bool = False
    ) -> None:
        """Append the result of a call that has ended; `is_skill`: the required skill's body.

        That stays while it is short enough; a longer one is masked like any other result.
        """
        assert call.result is not None
        fits = is_skill and wire_size(call.result.text) <= self._skill_room()
        self._append(
            Item(
                message=tool_message(call.request.call_id, call.result.text),
                place=Place(run, step, call.index),
                is_skill=is_skill,
                pinned=fits,
                arguments=call.request.arguments,
                tool=call.tool,
                call_id=call.request.call_id,
                name=call.request.name,
                state=call.state,
                refused=call.refused,
                size=call.result.size or len(call.result.text),
                at=at,
            )
        )

    def remember(self, fact: CallFact) -> None:
        """Take in a call of steps that a summary replaced, read from its row."""
        self.facts[fact.place] = fact

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self.messages.append(item.message)
        self._bytes += item.bytes

    # Deciding

    def plan(self, notes: Sequence[str] = (), *, closing: bool = False) -> Plan:
        """Return how the next request is made; nothing changes before `apply`.

        1. From MASK_AT of the usable window on the oldest results are masked, until MASK_UNTIL
           is reached; the last calls are spared.
        2. Where that leaves SUMMARISE_AT or more, a summary is needed first, unless this is the
           closing call or the last one is too near; then the spared calls are masked too.
        3. The same where a summary has just been made and left the context over half full.
        4. What does not fit the usable window even so is FULL; the closing call is tried.
        """
        extra = self.tools_size + sum(wire_size(note) + 32 for note in notes)
        usable = self.window.usable
        fresh = self.summary is not None and self.steps_since_summary == 0
        mark = self._mark(self.masked, self._bytes + extra)
        if mark.tokens > usable * MASK_AT:
            mark = self._masked_until(usable * MASK_UNTIL, extra, hard=False) or mark
        if mark.tokens > usable * SUMMARISE_AT and not closing and self._may_summarise():
            verdict = Verdict.CIRCLE if self._is_circling() else Verdict.SUMMARISE
            return Plan(verdict=verdict, mark=mark)
        if mark.tokens > usable * (HALF_FULL if fresh else SUMMARISE_AT):
            mark = self._masked_until(usable * MASK_UNTIL, extra, hard=True) or mark
        is_full = mark.tokens > usable and not closing
        return Plan(verdict=Verdict.FULL if is_full else Verdict.FITS, mark=mark)

    def pinned_is_too_long(self, texts: Sequence[str] = ()) -> bool:
        """Tell whether what always stays takes over half the window before anything is done."""
        size = sum(len(message.wire) for message in self.head) + sum(map(wire_size, texts))
        size += sum(item.bytes for item in self._items if item.pinned)
        return self.meter.tokens(size) > self.window.tokens * PINNED_SHARE

    def _mark(self, masked: Place | None, size: int) -> Mark:
        tokens = self.meter.tokens(size)
        return Mark(window=self.window, masked=masked, sent=size, tokens=tokens)

    def _masked_until(self, target: float, extra: int, *, hard: bool) -> Mark | None:
        """Return the mark that brings the request to `target` tokens, or as near as it gets.

        None where that gains too little. With `hard` only the last step's results are spared.
        """
        spared = self._spared(hard=hard)
        size, place = self._bytes + extra, self.masked
        enough = self.meter.size(int(target))
        for item in self._items:
            if size <= enough or item.place >= spared:
                break
            if not item.can_be_masked:
                continue
            gain = item.bytes - len(item.line.wire) - 1
            if gain > 0:
                size -= gain
            place = item.place._replace(call=item.place.call + 1)
        gained = self.meter.tokens(self._bytes + extra - size)
        if gained < self.window.usable * MIN_GAIN and not hard:
            return None
        return self._mark(place, size)

    def _spared(self, *, hard: bool) -> Place:
        """Return the place from which on nothing is masked."""
        last_step = self._last._replace(call=0)
        if hard:
            return last_step
        room = self.meter.size(self.window.share(SPARED_SHARE))
        spared, count = last_step, 0
        for item in reversed(self._items):
            if not item.is_result:
                continue
            room -= item.bytes
            count += 1
            if count > SPARED_CALLS or room < 0:
                break
            spared = min(spared, item.place)
        return spared

    def _may_summarise(self) -> bool:
        return (
            self.summaries_allowed
            and self.steps_since_summary >= STEPS_BETWEEN
            and self.replaceable_through() is not None
        )

    def replaceable_through(self) -> Place | None:
        """Return the last step that a summary would replace; None where it would replace nothing.

        The end stays: KEPT_SHARE of the usable window or KEPT_TOKENS, whole steps, at least one.
        """
        room = self.meter.size(self.window.share(KEPT_SHARE, KEPT_TOKENS))
        kept = self._last.run, self._last.step
        for item in reversed(self._items):
            room -= item.bytes
            step = item.place.run, item.place.step
            if step < kept:
                if room < 0:
                    return Place(*step, 0)
                kept = step
        return None

    def _is_circling(self) -> bool:
        """Tell whether nothing new succeeded since the last but one summary was made."""
        if len(self._summary_ends) < BARREN_SUMMARIES - 1:
            return False
        start = self._summary_ends[1 - BARREN_SUMMARIES]
        end = start._replace(call=LAST_CALL)
        successes = [fact for fact in self._all_facts() if fact.state is CallState.SUCCEEDED]
        before = {fact.signature for fact in successes if fact.place <= end}
        return before.issuperset(fact.signature for fact in successes)

    # Applying

    def apply(self, mark: Mark) -> None:
        """Mask what the mark says; applying it twice changes nothing more."""
        self.window = mark.window
        if mark.masked is None or (self.masked is not None and mark.masked <= self.masked):
            return
        self.masked = mark.masked
        for item in self._items:
            if item.place >= mark.masked:
                break
            if not item.can_be_masked:
                continue
            self.facts[item.place] = item.fact
            item.mask()
        self._rebuild()

    def summary_of(self, text: str, *, skill: str = "") -> Summary:
        """Return the summary that replaces what can be replaced.

        `text` is the model's; `skill` names the required skill.
        """
        through = self.replaceable_through()
        assert through is not None
        gone = [item for item in self._items if item.step <= (through.run, through.step)]
        end = through._replace(call=LAST_CALL)
        replaced = sorted((f for f in self._all_facts() if f.place <= end), key=lambda f: f.place)
        room = self.meter.size(self.window.share(SUMMARY_SHARE))
        return Summary(
            through=through,
            made_after=self._last,
            text=text,
            ledger=ledger_of(replaced, room=room),
            pinned=(
                *(self.summary.pinned if self.summary else ()),
                *(item.pinned_text(skill) for item in gone if item.pinned or item.is_skill),
            ),
        )

    def replace(self, summary: Summary) -> None:
        """Let a summary stand for the steps that it replaces."""
        for item in self._items:
            if item.step <= (summary.through.run, summary.through.step) and item.is_result:
                self.facts.setdefault(item.place, item.fact)
        self._items = [
            item for item in self._items if item.step > (summary.through.run, summary.through.step)
        ]
        self.summary = summary
        self.steps_since_summary = 0
        self._summary_ends.append(summary.made_after)
        self._rebuild()

    def summary_failed(self) -> None:
        """Ask for no summary in the next steps: mask harder instead."""
        self.steps_since_summary = 0

    def trimmed(self, size: int) -> list[Message]:
        """Return the messages without their oldest steps, in at most about `size` bytes."""
        over = self._bytes - size
        gone: tuple[int, int] = (0, 0)
        for item in self._items:
            if over <= 0 and item.step > gone:
                break
            over -= item.bytes
            gone = item.step
        kept = [item.message for item in self._items if item.step > gone]
        return [*self._front(), *kept]

    # What happened before

    def effect_out_of_sight(self, call: Call) -> CallFact | None:
        """Return an equal call that had an effect and whose result is no longer in sight.

        None where sending is harmless, where nothing like it was done, and where the model can
        see the earlier result, or the answer that told it of that: then it means what it asks.
        """
        tool = call.tool
        if tool is None or tool.repeatable or not tool.server or call.arguments is None:
            return None
        wanted = signature(server=tool.server, tool=tool.tool, arguments=call.arguments)
        earlier = [fact for fact in self.facts.values() if fact.signature == wanted]
        effects = [fact for fact in earlier if fact.had_effect]
        if not effects:
            return None
        for item in self._items:
            if not item.is_result or item.masked or item.name != call.request.name:
                continue
            if item.fact.signature == wanted:
                return None
        return max(effects, key=lambda fact: fact.place)

    def _all_facts(self) -> Iterator[CallFact]:
        yield from self.facts.values()
        yield from (item.fact for item in self._items if item.is_result and not item.masked)

    def _skill_room(self) -> int:
        return self.meter.size(self.window.share(SKILL_SHARE, SKILL_TOKENS))

    def _front(self) -> Iterator[Message]:
        yield from self.head
        if self.summary is not None:
            yield from map(user_message, self.summary.pinned)
            yield user_message(summary_text(text=self.summary.text, ledger=self.summary.ledger))

    def _rebuild(self) -> None:
        self.messages = [*self._front(), *(item.message for item in self._items)]
        self._bytes = sum(len(message.wire) + 1 for message in self.messages)
