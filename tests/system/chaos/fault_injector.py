"""The monkey: makes faults by the seed, one after the other, and writes down each."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Sequence

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from tasks_app.models import AgentTask, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.quarantine import FATAL_AT
from tasks_app.worker.maintenance.reclaim import end_worker
from tests.system.chaos.databases import Postgresql, Sqlite
from tests.system.chaos.faults import ANYWHERE, ON_POSTGRESQL, ON_SQLITE, Fault, Kind
from tests.system.chaos.load import Load
from tests.system.chaos.rows import insist
from tests.system.chaos.scenario import name_of, number_in
from tests.system.chaos.units import Process, Unit
from tests.system.chaos.wakeups import lose_knocks, repeat_knocks

FAVOUR = 10  # times that a favourite comes in a round, besides
PAUSES = (0.5, 4.0)  # seconds between faults, at least and at most
LONG = (Kind.DATABASE_GONE, Kind.DATABASE_STUCK, Kind.LOCK_LONG)
MOMENT = (0.5, 3.0)  # how long a short one lasts
MERCY = 60.0  # seconds at most that it waits for a task on its last life


class Monkey:
    """Breaks what is given to it. `lease` is in seconds; `favourites` are made more often."""

    def __init__(
        self,
        *,
        seed: int,
        units: Sequence[Unit],
        database: Postgresql | Sqlite,
        load: Load,
        lease: float,
        favourites: Sequence[Kind],
        tell: Callable[[str], None],
    ) -> None:
        self.faults: list[Fault] = []
        self._dice = random.Random(f"{seed}/monkey")
        self._units = units
        self._database = database
        self._load = load
        self._lease = lease
        self._favourites = favourites
        self._tell = tell
        self._thaws: list[tuple[threading.Timer, Process]] = []
        self._began = time.time()
        local = ON_POSTGRESQL if isinstance(database, Postgresql) else ON_SQLITE
        self._weights = {**ANYWHERE, **local}
        self._due: list[Kind] = []

    def run(self, *, seconds: float) -> None:
        """Make faults for so long. Every kind comes before the first comes a third time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._make(self._next())
            time.sleep(self._dice.uniform(*PAUSES))
            self._spare_the_last_life()
        for timer, process in self._thaws:
            timer.cancel()
            process.send(signal.SIGCONT)

    def _spare_the_last_life(self) -> None:
        """Wait for a step of whom one more crash would fail, as is promised of what kills workers.

        A monkey that is quicker than a turn would have the innocent taken for it.
        """
        patience = time.monotonic() + MERCY
        while insist(is_on_last_life) and time.monotonic() < patience:
            time.sleep(0.2)

    def _next(self) -> Kind:
        if not self._due:
            weighted = self._dice.choices(
                list(self._weights), list(self._weights.values()), k=len(self._weights)
            )
            self._due = [*self._weights, *weighted, *FAVOUR * list(self._favourites)]
            self._dice.shuffle(self._due)
        return self._due.pop()

    def _thaw_after(self, process: Process, seconds: float) -> None:
        """Wake it whatever the monkey does then: it may be waiting for a lock of the frozen."""
        timer = threading.Timer(seconds, process.send, [signal.SIGCONT])
        timer.daemon = True
        timer.start()
        self._thaws.append((timer, process))

    def _note(self, kind: Kind, detail: str, victims: tuple[str, ...] = ()) -> None:
        fault = Fault(at=time.time(), kind=kind, detail=detail, victims=victims)
        self.faults.append(fault)
        hit = f", {len(victims)} tasks" if victims else ""
        self._tell(f"{fault.at - self._began:6.1f} s  {kind.value}: {detail}{hit}")

    def _make(self, kind: Kind) -> None:
        unit = self._dice.choice(self._units)
        match kind:
            case Kind.KILL_BUSY | Kind.KILL_IDLE | Kind.END_WORKER | Kind.FREEZE | Kind.PAUSE:
                self._to_worker(kind)
            case Kind.KILL_PARENT | Kind.END_PARENT:
                self._to_parent(kind, unit)
            case Kind.KILL_GROUP | Kind.END_GROUP | Kind.ABORT_GROUP:
                self._to_group(kind, unit)
            case Kind.BURY_ALIVE:
                self._bury_alive()
            case Kind.BURY_FROZEN:
                self._bury_frozen()
            case Kind.LOSE_BELLS:
                self._note(kind, f"{insist(lose_knocks)} rows deleted")
                self._load.bells_lost.set()
                time.sleep(3.0)
                self._load.bells_lost.clear()
            case Kind.REPEAT_BELLS:
                self._note(kind, f"{insist(lambda: repeat_knocks(self._dice))} more messages")
            case _:
                self._to_database(kind)

    def _to_worker(self, kind: Kind) -> None:
        held = insist(tasks_by_pid)
        living = [each for unit in self._units for each in unit.workers()]
        busy = [each for each in living if held.get(each.pid)]
        idle = [each for each in living if not held.get(each.pid)]
        wanted = idle if kind is Kind.KILL_IDLE else busy
        if not wanted:
            return
        chosen = self._dice.choice(wanted)
        number = {
            Kind.END_WORKER: signal.SIGTERM,
            Kind.FREEZE: signal.SIGSTOP,
            Kind.PAUSE: signal.SIGSTOP,
        }.get(kind, signal.SIGKILL)
        if not chosen.send(number):
            return
        if number is signal.SIGSTOP:
            lasts = self._lease + 2.5 if kind is Kind.FREEZE else self._dice.uniform(*MOMENT)
            self._thaw_after(chosen, lasts)
        self._note(kind, f"pid {chosen.pid}", tuple(held.get(chosen.pid, ())))

    def _to_parent(self, kind: Kind, unit: Unit) -> None:
        victims = victims_of(unit)
        parent = unit.parent
        number = signal.SIGKILL if kind is Kind.KILL_PARENT else signal.SIGTERM
        if parent is not None and parent.send(number):
            self._note(kind, f"{unit.name}, pid {parent.pid}", victims)

    def _to_group(self, kind: Kind, unit: Unit) -> None:
        victims = victims_of(unit)
        unit.signal_group(signal.SIGKILL if kind is Kind.KILL_GROUP else signal.SIGTERM)
        if kind is Kind.ABORT_GROUP:
            time.sleep(0.3)
            unit.signal_group(signal.SIGTERM)
        self._note(kind, unit.name, victims)

    def _bury_alive(self) -> None:
        """Do what a sweep elsewhere does that saw no heartbeat: the worker itself knows nothing."""
        worker, held = self._busy_worker()
        if worker is not None:
            freed = insist(lambda: declare_dead(worker))
            self._note(Kind.BURY_ALIVE, f"pid {worker.pid}, {freed} freed", held)

    def _bury_frozen(self) -> None:
        """A machine stands still, clock and all, and is woken when others have its tasks, or may.

        Half of the time the tasks are taken and driven on before it wakes, half of the time
        they are just free.
        """
        worker, held = self._busy_worker()
        process = self._process_of(worker)
        if worker is None or process is None or not process.send(signal.SIGSTOP):
            return
        before, after = self._dice.choice([(0.0, 2.0), (1.5, 0.0)])
        time.sleep(before)
        try:
            outcome = f"{declare_dead(worker)} freed"
            time.sleep(after)
        except OperationalError:  # it stands still in a transaction, or the database is away
            outcome = "could not be buried"
        finally:
            process.send(signal.SIGCONT)
        self._note(Kind.BURY_FROZEN, f"pid {worker.pid}, {outcome}", held)

    def _busy_worker(self) -> tuple[Worker | None, tuple[str, ...]]:
        held = insist(tasks_by_pid)
        workers = insist(lambda: list(Worker.objects.filter(state=WorkerState.ALIVE)))
        busy = [each for each in workers if held.get(each.pid)]
        if not busy:
            return None, ()
        chosen = self._dice.choice(busy)
        return chosen, tuple(held[chosen.pid])

    def _process_of(self, worker: Worker | None) -> Process | None:
        living = [each for unit in self._units for each in unit.workers()]
        return next((each for each in living if worker and each.pid == worker.pid), None)

    def _to_database(self, kind: Kind) -> None:
        database = self._database
        lasts = self._lease + 1.5 if kind in LONG else self._dice.uniform(*MOMENT)
        if isinstance(database, Sqlite):
            self._note(kind, f"{lasts:.1f} s")
            database.lock(seconds=lasts)
        elif kind in (Kind.CUT, Kind.CUT_ONE):
            self._note(kind, f"{insist(lambda: cut_connections(self._dice, kind))} connections")
        elif kind in (Kind.DATABASE_HANGS, Kind.DATABASE_STUCK):
            self._note(kind, f"{lasts:.1f} s")
            with database.hanging():
                time.sleep(lasts)
        else:
            if kind in (Kind.RESTART_DATABASE, Kind.CRASH_DATABASE):
                lasts = 0.0
            self._note(kind, f"{lasts:.1f} s")
            database.stop(mode="immediate" if kind is Kind.CRASH_DATABASE else "fast")
            time.sleep(lasts)
            database.start()


def tasks_by_pid() -> dict[int, list[str]]:
    """Return the names of the running tasks by the pid of the worker that holds them."""
    held: dict[int, list[str]] = {}
    running = AgentTask.objects.filter(status=Status.RUNNING)
    for prompt, pid in running.values_list("prompt", "worker__pid"):
        held.setdefault(pid, []).append(name_of(number_in(prompt)))
    return held


def is_on_last_life() -> bool:
    """Tell whether a task runs that is given up at its next crash, unless it commits a step."""
    return AgentTask.objects.filter(status=Status.RUNNING, crashes__gte=FATAL_AT - 1).exists()


def victims_of(unit: Unit) -> tuple[str, ...]:
    """Return the names of the tasks that a unit's workers hold."""
    held = insist(tasks_by_pid)
    return tuple(name for worker in unit.workers() for name in held.get(worker.pid, ()))


def declare_dead(worker: Worker) -> int:
    """Bury a worker that lives; return how many tasks became free."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '1s'")
        freed = end_worker(worker_id=worker.id, state=WorkerState.DEAD, now=timezone.now())
    return len(freed)


def cut_connections(dice: random.Random, kind: Kind) -> int:
    """End one or all of the others' database sessions, as an administrator would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
        )
        pids = [row[0] for row in cursor.fetchall()]
        chosen = pids if kind is Kind.CUT else [dice.choice(pids)] if pids else []
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [chosen])
    return len(chosen)
