"""Where requests wait for something to change: one place in each process, without threads."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

Keys = Sequence[uuid.UUID]


class Source(Protocol):
    """Hears of changes on a thread of its own."""

    @property
    def is_live(self) -> bool:
        """Tell whether what changes now will be heard of soon."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End soon."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end."""


class SourceFactory(Protocol):
    """Makes a source that calls these on its thread."""

    def __call__(
        self,
        *,
        awaited: Callable[[], Keys],
        changed: Callable[[Keys], None],
        found: Callable[[Keys, Mapping[uuid.UUID, str]], None],
    ) -> Source: ...


class Watch:
    """One request that waits for one thing; of the event loop's thread alone.

    `begin` before asking how it stands, `mark_seen` with the version that was told, then `wait`.
    What changes after `begin` ends the wait, however early it came.
    """

    __slots__ = ("_waiter", "changed", "seen")

    def __init__(self) -> None:
        self.seen: str | None = None
        self.changed = False
        self._waiter: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """From now on every change counts."""
        self.seen = None
        self.changed = False

    def mark_seen(self, version: str) -> None:
        """Remember the version that was told."""
        self.seen = version

    def wake(self) -> None:
        """End the wait, or the next one."""
        self.changed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, *, gone: asyncio.Future[Any], timeout: float) -> bool:
        """Return True when woken; False when `gone` is done, or after `timeout` seconds."""
        if not self.changed and not gone.done() and timeout > 0:
            self._waiter = asyncio.get_running_loop().create_future()
            waited_for: set[asyncio.Future[Any]] = {self._waiter, gone}
            await asyncio.wait(waited_for, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            self._waiter = None
        return self.changed


class ChangeHub:
    """Wakes those who watch a key when it changes; of the event loop's thread alone."""

    def __init__(self, make_source: SourceFactory) -> None:
        self._make_source = make_source
        self._source: Source | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: dict[uuid.UUID, set[Watch]] = {}
        self.stopping = False

    @contextmanager
    def watch(self, key: uuid.UUID) -> Iterator[Watch]:
        """Watch a key for as long as the block lasts."""
        self.start()
        watch = Watch()
        self._watches.setdefault(key, set()).add(watch)
        try:
            yield watch
        finally:
            others = self._watches[key]
            others.discard(watch)
            if not others:
                del self._watches[key]

    @property
    def is_live(self) -> bool:
        """Tell whether who watches will be woken by what changes now."""
        return self._source is not None and self._source.is_live

    def notify(self, key: uuid.UUID) -> None:
        """Wake those who watch the key: something has changed it in this process."""
        self._wake([key])

    def start(self) -> None:
        """Have the source begin, if it has not."""
        if self._source is None and not self.stopping:
            self._loop = asyncio.get_running_loop()
            self._source = self._make_source(
                awaited=lambda: list(self._watches),  # one step of the interpreter: no lock
                changed=lambda keys: self._tell(self._wake, keys),
                found=lambda keys, versions: self._tell(self._compare, keys, versions),
            )
            self._source.start()

    def stop(self) -> None:
        """The process is ending: wake everybody, for good."""
        self.stopping = True
        self._wake(list(self._watches))

    async def close(self) -> None:
        """Stop, and wait for the source to end."""
        self.stop()
        if self._source is not None:
            self._source.stop()
            await asyncio.to_thread(self._source.join, 5.0)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call on the loop, from the source's thread."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _wake(self, keys: Keys) -> None:
        for key in keys:
            for watch in self._watches.get(key, ()):
                watch.wake()

    def _compare(self, keys: Keys, versions: Mapping[uuid.UUID, str]) -> None:
        """Wake who has seen another version; who is just asking will compare the next time."""
        for key in keys:
            for watch in self._watches.get(key, ()):
                if watch.seen is not None and watch.seen != versions.get(key):
                    watch.wake()
