"""The catalogues that a process keeps for a while, bounded by what they weigh."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent_runtime.mcp.catalogue import Catalogue
from agent_runtime.mcp.errors import AWAY, NoResponse

MAX_AGE_SECONDS = 300.0
MAX_KEPT = 1_000  # catalogues in a process
MAX_KEPT_WEIGHT = 64_000_000  # bytes, about, of all of them
LARGEST_SHARE = 4  # a catalogue that takes more than a fourth of that is not kept


@dataclass(frozen=True, slots=True)
class _Kept:
    made: float
    catalogue: Catalogue


class CatalogueCache:
    """The catalogues of this process, by server instance and credential.

    Entries live `max_age` seconds, the longest unused go first. Those who want one that is
    being listed wait for it and share its outcome. `weight` is in bytes, about.
    """

    def __init__(
        self,
        *,
        max_age: float = MAX_AGE_SECONDS,
        max_kept: int = MAX_KEPT,
        max_weight: int = MAX_KEPT_WEIGHT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_age = max_age
        self._max_kept = max_kept
        self._max_weight = max_weight
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._listing: dict[str, asyncio.Future[Catalogue]] = {}
        self.weight = 0

    def fresh(self, *, key: str) -> Catalogue | None:
        """Return the catalogue kept under `key`, unless it is stale."""
        found = self._kept.get(key)
        if found is None or self._is_stale(found):
            return None
        self._kept.move_to_end(key)
        return found.catalogue

    def drop(self, *, key: str) -> None:
        """Forget a catalogue that turned out to be wrong."""
        if (found := self._kept.pop(key, None)) is not None:
            self.weight -= found.catalogue.weight

    async def get(self, *, key: str, make: Callable[[], Awaitable[Catalogue]]) -> Catalogue:
        """Return the catalogue kept under `key`, or make it, once for all who ask meanwhile.

        An empty key is never kept. Raises what `make` raises.
        """
        if not key:
            return await make()
        while (found := self.fresh(key=key)) is None:
            listing = self._listing.get(key)
            if listing is None:
                return await self._make(key, make)
            await asyncio.wait({listing})
            if not listing.cancelled():
                return listing.result()
        return found

    async def _make(self, key: str, make: Callable[[], Awaitable[Catalogue]]) -> Catalogue:
        listing = self._listing[key] = asyncio.get_running_loop().create_future()
        try:
            catalogue = await make()
        except NoResponse as error:
            listing.set_exception(NoResponse(error.fault, error.detail))
            listing.exception()  # seen, in case that nobody waits
            raise
        else:
            listing.set_result(catalogue)
        finally:
            del self._listing[key]
            listing.cancel()  # only when we were cancelled: those who wait list for themselves
        self._keep(key, catalogue)
        return catalogue

    def _keep(self, key: str, catalogue: Catalogue) -> None:
        self.drop(key=key)
        if catalogue.cut_by in AWAY or catalogue.weight > self._max_weight // LARGEST_SHARE:
            return
        self._kept[key] = _Kept(self._clock(), catalogue)
        self.weight += catalogue.weight
        while len(self._kept) > self._max_kept or self.weight > self._max_weight:
            self.drop(key=next(iter(self._kept)))
        asyncio.get_running_loop().call_later(self._max_age + 1, self._sweep)

    def _sweep(self) -> None:
        """Let go of what has grown stale and is not asked for again."""
        for key in [key for key, kept in self._kept.items() if self._is_stale(kept)]:
            self.drop(key=key)

    def _is_stale(self, kept: _Kept) -> bool:
        return self._clock() - kept.made > self._max_age
