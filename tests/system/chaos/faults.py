"""The kinds of fault, how often each is tried, and the record of one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What the monkey does."""

    KILL_BUSY = "kill -9 a busy worker"
    KILL_IDLE = "kill -9 an idle worker"
    KILL_PARENT = "kill -9 a parent"
    KILL_GROUP = "kill -9 a whole group"
    END_WORKER = "SIGTERM a worker"
    END_PARENT = "SIGTERM a parent"
    END_GROUP = "SIGTERM a whole group"
    ABORT_GROUP = "SIGTERM a whole group twice"
    FREEZE = "freeze a worker past its lease"
    PAUSE = "freeze a worker for a moment"
    BURY_ALIVE = "declare a living worker dead"
    BURY_FROZEN = "declare a frozen worker dead, then wake it"
    RESTART_DATABASE = "restart the database"
    CRASH_DATABASE = "crash the database"
    DATABASE_AWAY = "database away for some seconds"
    DATABASE_GONE = "database away past the lease"
    DATABASE_HANGS = "database hangs for some seconds"
    DATABASE_STUCK = "database hangs past the lease"
    CUT = "cut all database connections"
    CUT_ONE = "cut one database connection"
    LOCK = "database locked for a moment"
    LOCK_LONG = "database locked past the lease"
    LOSE_BELLS = "lose all knocks for three seconds"
    REPEAT_BELLS = "knock twice and late"


ANYWHERE = {
    Kind.KILL_BUSY: 6,
    Kind.KILL_IDLE: 2,
    Kind.KILL_PARENT: 2,
    Kind.KILL_GROUP: 2,
    Kind.END_WORKER: 2,
    Kind.END_PARENT: 3,
    Kind.END_GROUP: 2,
    Kind.ABORT_GROUP: 1,
    Kind.FREEZE: 3,
    Kind.PAUSE: 2,
    Kind.BURY_ALIVE: 2,
    Kind.BURY_FROZEN: 4,
    Kind.LOSE_BELLS: 2,
    Kind.REPEAT_BELLS: 2,
}
ON_POSTGRESQL = {
    Kind.RESTART_DATABASE: 1,
    Kind.CRASH_DATABASE: 1,
    Kind.DATABASE_AWAY: 1,
    Kind.DATABASE_GONE: 1,
    Kind.DATABASE_HANGS: 1,
    Kind.DATABASE_STUCK: 1,
    Kind.CUT: 2,
    Kind.CUT_ONE: 3,
}
ON_SQLITE = {Kind.LOCK: 3, Kind.LOCK_LONG: 1}
KILLS_OF_WORKERS = (Kind.KILL_BUSY, Kind.KILL_IDLE)


# What a fence is for: without it these faults, made more often, have to show.
GUARDED = {
    "claim-fence": (Kind.BURY_ALIVE, Kind.BURY_FROZEN),
    "epoch-fence": (Kind.BURY_ALIVE, Kind.BURY_FROZEN),
    "hand-back-by-owner": (Kind.END_WORKER, Kind.END_PARENT, Kind.END_GROUP),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that was made: when (POSIX seconds), and the names of the tasks that it hit."""

    at: float
    kind: Kind
    detail: str
    victims: tuple[str, ...] = ()
