"""Work on what strangers send, one piece in each turn of the event loop.

A piece takes up to a tenth of a second. A hundred of them may be ready at once; they wait here
for each other, so that whatever else the loop has to do gets its turn between two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

LIGHT_BYTES = 50_000  # of a message that needs no turn of its own

_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def turn(*, size: int | None = None) -> AsyncIterator[None]:
    """Wait for a turn to work on `size` bytes; at once for a light piece."""
    if size is not None and size <= LIGHT_BYTES:
        yield
        return
    lock = _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with lock:
        yield
        await asyncio.sleep(0)
