"""The engine of one worker process: one event loop that claims tasks and drives them.

It lives on a thread of its own from `post_spawn` to the end of the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import NoReturn

import structlog
import uvloop
from django.db import DatabaseError

from agent_runtime.errors import ModelError
from caylex_project.db.clock import clock
from tasks_app.notifications.task_log import log_start
from tasks_app.operations.bulk import process_bulk_batch
from tasks_app.operations.disabling import cancel_disabled_batch
from tasks_app.states import WorkerState
from tasks_app.webhooks.sender import Sender
from tasks_app.worker.claiming.claim import (
    CLAIM_BATCH,
    MAX_CLAIM_BATCH,
    Claim,
    LeaseLost,
    claim_due,
    claim_quarantined,
    claims_of,
)
from tasks_app.worker.database import DatabaseAway
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.execution.control import read_control_snapshot
from tasks_app.worker.execution.driver import Driver
from tasks_app.worker.journal.journal import Fenced
from tasks_app.worker.maintenance import batches, retention, sweep
from tasks_app.worker.maintenance.reclaim import end_worker, free_broken
from tasks_app.worker.process.lease import Heartbeat, register, set_draining
from tasks_app.worker.resources import Resources

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5  # seconds between looks at the rows when no doorbell rings
RESERVE = 20  # for so many slots there is one more, for tenants that hold none here
RECOVER_SECONDS = 10.0  # for how long after a lost connection the rows are asked what we hold
TICK = 0.1  # seconds between measurements of the loop's lag
WINDOWS_EVERY = 3600.0  # seconds between looks at whether the provider was asked today
MAX_LAG = 0.2  # seconds of lag above which nothing new is claimed
CLOCK_WARNING = 1.0  # seconds between the database's clock and this machine's
EXIT_CLEAN = 0
EXIT_ABORTED = 71
EXIT_FENCED = 75  # the lease is lost: leaving at once is what keeps others' work safe

MakeResources = Callable[[], Resources]


class Engine:
    """Claims due tasks and drives up to `CAYLEX_TASKS_PER_WORKER` of them at once, and some more.

    With `quarantine` it claims the tasks that may be what kills workers, and no others.

    Thread-safe from outside: `wake`, `drain`, `abort`. `join` gives the exit code.
    """

    def __init__(
        self,
        *,
        quarantine: bool = False,
        make_resources: MakeResources = Resources.from_settings,
    ) -> None:
        self._quarantine = quarantine
        self._make_resources = make_resources
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._loop = uvloop.new_event_loop()
        self._wake_event = asyncio.Event()
        self._draining = asyncio.Event()
        self._aborting = asyncio.Event()
        self._last_tick = time.monotonic()
        self._lag = 0.0
        self._after_tenant = uuid.UUID(int=0)  # the tenant that was served last
        self._claims: dict[asyncio.Task[None], Claim] = {}
        self._active: dict[uuid.UUID, ActiveTask] = {}  # those of them whose rows have been read
        self._refill_at = 0  # look for due tasks when no more than this are held: there is room
        self._recover_until = 0.0  # monotonic: until when a lost claim may still turn up
        self._exit_code: int | None = None

    def start(self) -> None:
        """Start the loop's thread; it registers the worker and begins to claim."""
        self._thread.start()

    def wake(self) -> None:
        """Look for due tasks now."""
        self._set_threadsafe(self._wake_event)

    def drain(self) -> None:
        """Claim no more; finish turns, hand back, end."""
        self._set_threadsafe(self._draining)
        self.wake()

    def abort(self) -> None:
        """Break off what runs, hand it back, end."""
        self._set_threadsafe(self._aborting)
        self.drain()

    def join(self, timeout: float | None) -> int | None:
        """Return the exit code once the engine has ended, None while it runs."""
        self._thread.join(timeout)
        return None if self._thread.is_alive() else self._exit_code

    def _set_threadsafe(self, event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(event.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._exit_code = self._loop.run_until_complete(self._run_worker())
        except BaseException:  # the process must not live on without its engine
            log.exception("engine.broke")
            _leave(EXIT_FENCED)
        finally:
            self._loop.close()

    async def _run_worker(self) -> int:
        """The life of a worker.

        1. Register: a fresh row, alive and leased; the heartbeat keeps it so.
        2. Claim and drive, sweep every two seconds, measure the loop's lag.
        3. Told to end: the row says draining, tasks are handed back at their next commit.
        4. At the drain's deadline, or on abort, what still runs is broken off and handed back by
           the worker's id, in the transaction that ends the worker.
        """
        resources = self._make_resources()
        environment = resources.environment
        worker_id = await resources.database.run_with_retry(
            register,
            capacity=_slots(environment.caylex_tasks_per_worker),
            lease_seconds=environment.caylex_lease_seconds,
        )
        heartbeat = Heartbeat(
            worker_id=worker_id,
            lease_seconds=environment.caylex_lease_seconds,
            every=environment.caylex_heartbeat_seconds,
            last_tick=lambda: self._last_tick,
            held=lambda: len(self._claims),
            fenced=_fenced,
        )
        heartbeat.start()
        log.info("engine.started", worker=str(worker_id), pid=os.getpid())
        if abs(clock.ahead_of_own) > CLOCK_WARNING:
            log.warning("engine.clock_differs", seconds=round(clock.ahead_of_own, 1))
        sender = Sender(
            guard=resources.guard,
            run_unit=resources.database.run,
            insist=resources.database.run_with_retry,
            clock=clock.now,
        )
        background = (
            self._tick(),
            self._sweep(resources),
            _delete_expired(resources),
            _ask_windows(resources),
            self._poll_control_state(resources, worker_id),
            sender.run(self._draining),
            batches.run_batches(process_bulk_batch, resources.database.run, self._draining),
            batches.run_batches(cancel_disabled_batch, resources.database.run, self._draining),
        )
        background_tasks = [asyncio.create_task(duty) for duty in background]
        for task in background_tasks:
            task.add_done_callback(_exit_if_failed)
        await self._claim_until_draining(resources, worker_id)
        broken_off = await self._drain(resources, worker_id, heartbeat)
        for task in background_tasks:
            task.cancel()
        await sender.close()
        await resources.close()
        return EXIT_ABORTED if broken_off and self._aborting.is_set() else EXIT_CLEAN

    async def _claim_until_draining(self, resources: Resources, worker_id: uuid.UUID) -> None:
        driver = Driver(
            model=resources.model,
            model_timeout=resources.environment.caylex_model_timeout_seconds,
            max_attempts=resources.environment.caylex_max_attempts,
            draining=self._draining,
            one_turn=self._quarantine,
        )
        while not self._draining.is_set():
            self._wake_event.clear()
            await self._recover_lost_claims(resources, worker_id, driver)
            size = CLAIM_BATCH
            while await self._claim_batch(resources, worker_id, driver, size):
                size = min(size * 2, MAX_CLAIM_BATCH)
            pause = TICK if self._lag > MAX_LAG else POLL_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake_event.wait(), pause)

    async def _claim_batch(
        self, resources: Resources, worker_id: uuid.UUID, driver: Driver, size: int
    ) -> bool:
        """Claim one slice of what is due; True when there may be more at once.

        Where only the reserve is left, it is for tenants that hold nothing here: one task each.
        """
        open_to_all = resources.environment.caylex_tasks_per_worker
        capacity = _slots(open_to_all)
        held = len(self._claims)
        exclude_tenants = (
            None if held < open_to_all else {each.tenant_id for each in self._claims.values()}
        )
        limit = min(size, (open_to_all if exclude_tenants is None else capacity) - held)
        refused = limit <= 0 or self._lag > MAX_LAG
        room = min(CLAIM_BATCH, max(1, capacity // CLAIM_BATCH))
        self._refill_at = open_to_all - room if refused or exclude_tenants is not None else 0
        if refused or self._draining.is_set():
            return False
        try:
            claims = await self._claim(resources, worker_id, limit, exclude_tenants)
        except LeaseLost:
            _fenced("a claim was refused")
        except DatabaseAway:
            log.warning("claim.database_away")
            self._recover_until = time.monotonic() + RECOVER_SECONDS
            return False
        self._start_driving(resources, driver, claims)
        return len(claims) == limit

    async def _recover_lost_claims(
        self, resources: Resources, worker_id: uuid.UUID, driver: Driver
    ) -> None:
        """Drive what was claimed for us in a commit whose answer was lost on the way."""
        if time.monotonic() > self._recover_until:
            return
        with suppress(DatabaseAway):
            held = await resources.database.run(claims_of, worker_id=worker_id)
            known = {claim.task_id for claim in self._claims.values()}
            self._start_driving(
                resources, driver, [claim for claim in held if claim.task_id not in known]
            )

    def _start_driving(self, resources: Resources, driver: Driver, claims: Sequence[Claim]) -> None:
        if resources.notifier is not None:
            resources.notifier.notify(claim.task_id for claim in claims)
        for claim in claims:
            task = asyncio.create_task(self._drive(resources, driver, claim))
            self._claims[task] = claim
            task.add_done_callback(self._on_task_done)

    async def _claim(
        self,
        resources: Resources,
        worker_id: uuid.UUID,
        limit: int,
        exclude_tenants: Collection[uuid.UUID] | None,
    ) -> list[Claim]:
        if not self._quarantine:
            claims, self._after_tenant = await resources.database.run(
                claim_due,
                worker_id=worker_id,
                limit=limit,
                after_tenant=self._after_tenant,
                exclude_tenants=exclude_tenants,
            )
            return claims
        if self._claims:
            return []
        return await resources.database.run(claim_quarantined, worker_id=worker_id)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        del self._claims[task]
        if len(self._claims) <= self._refill_at:
            self._wake_event.set()

    async def _drive(self, resources: Resources, driver: Driver, claim: Claim) -> None:
        """Drive one claimed task; whatever happens, the task is let go or somebody else's."""
        with structlog.contextvars.bound_contextvars(task=str(claim.task_id), epoch=claim.epoch):
            try:
                active = self._active[claim.task_id] = await resources.activate(claim)
                log_start(
                    project_id=active.project_id,
                    run=active.run_number,
                    steps=active.transcript.steps,
                    model=active.model,
                )
                await driver.drive(active)
            except Fenced:
                log.info("task.fenced")
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
                log.exception("task.broke")  # somebody's own cancellation got out
                await _release_after_crash(resources, claim)
            except Exception:  # a defect of ours must not strand the task
                log.exception("task.broke")
                await _release_after_crash(resources, claim)
            finally:
                driven = self._active.get(claim.task_id)
                if driven is not None and driven.claim is claim:
                    del self._active[claim.task_id]
                    await driven.toolbox.close()

    async def _poll_control_state(self, resources: Resources, worker_id: uuid.UUID) -> None:
        """Pass on to the tasks in hand what they have to heed."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                snapshot = await resources.database.run(read_control_snapshot, worker_id=worker_id)
            except DatabaseAway:
                continue
            resources.control.snapshot = snapshot
            for active in self._active.values():
                active.pausing = active.project_id in snapshot.projects
            for task_id in snapshot.cancels.keys() & self._active.keys():
                self._active[task_id].cancel(snapshot.cancels[task_id])

    async def _drain(
        self, resources: Resources, worker_id: uuid.UUID, heartbeat: Heartbeat
    ) -> bool:
        """Let turns finish until the deadline, then end the worker; True when work was broken."""
        await resources.database.run_with_retry(set_draining, worker_id=worker_id)
        log.info("engine.draining", worker=str(worker_id), held=len(self._claims))
        deadline = time.monotonic() + resources.environment.caylex_drain_seconds
        aborting = asyncio.create_task(self._aborting.wait())
        while self._claims and not self._aborting.is_set() and time.monotonic() < deadline:
            await asyncio.wait(
                [*self._claims, aborting],
                timeout=deadline - time.monotonic(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        aborting.cancel()
        broken_off = list(self._claims)
        for task in broken_off:
            task.cancel()
        await asyncio.wait([asyncio.create_task(_ends_quickly(broken_off))], timeout=1.0)
        heartbeat.stop()  # first: a beat that finds the worker ended would take it for fenced
        freed = await resources.database.run_with_retry(
            end_worker, worker_id=worker_id, state=WorkerState.GONE, now=clock.now()
        )
        log.info("engine.ended", worker=str(worker_id), handed_back=len(freed))
        return bool(broken_off)

    async def _tick(self) -> None:
        """Measure the loop's lag, and show the heartbeat that the loop turns."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(TICK)
            self._last_tick = time.monotonic()
            self._lag = self._last_tick - began - TICK

    async def _sweep(self, resources: Resources) -> None:
        while True:
            try:
                if await resources.database.run(sweep.sweep):
                    self._wake_event.set()
            except DatabaseAway:
                log.warning("sweep.database_away")
            except DatabaseError:  # one row that cannot be swept must not end every worker
                log.exception("sweep.refused")
            await asyncio.sleep(sweep.EVERY)


def _slots(open_to_all: int) -> int:
    """Return how many tasks a worker holds at most, the reserve for tenants without one included.

    It comes on top: one tenant's thousand tasks fill a thousand places, in one wave and not in two.
    """
    return open_to_all + open_to_all // RESERVE


async def _delete_expired(resources: Resources) -> None:
    """Delete what is old, a portion at a time, now and then."""
    days = resources.environment.caylex_retention_days
    pause = retention.EVERY
    while True:
        await asyncio.sleep(pause)
        pause = retention.EVERY
        try:
            if await resources.database.run(retention.delete_expired, days=days):
                pause = retention.PAUSE
        except DatabaseAway:
            log.warning("retention.database_away")
        except DatabaseError:  # one row that cannot be deleted must not end every worker
            log.exception("retention.refused")


async def _ask_windows(resources: Resources) -> None:
    """Learn the context windows of the models, beside the work."""
    while True:
        try:
            await resources.ask_windows()
        except DatabaseAway:
            log.warning("windows.database_away")
        except ModelError as fault:
            log.info("windows.not_told", why=str(fault))
        except DatabaseError:  # as another worker wrote the same rows just now
            log.warning("windows.refused")
        await asyncio.sleep(WINDOWS_EVERY)


def _exit_if_failed(task: asyncio.Task[None]) -> None:
    """A worker without one of its duties must not live on."""
    if not task.cancelled() and task.exception() is not None:
        log.error("engine.background_task_failed", exc_info=task.exception())
        _leave(EXIT_FENCED)


async def _ends_quickly(tasks: list[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


async def _release_after_crash(resources: Resources, claim: Claim) -> None:
    """Let a task go whose state in memory cannot be trusted; its rows can."""
    await resources.database.run_with_retry(
        free_broken,
        claim=claim,
        max_attempts=resources.environment.caylex_max_attempts,
        now=clock.now(),
    )


def _is_being_cancelled() -> bool:
    current = asyncio.current_task()
    return current is None or bool(current.cancelling())


def _fenced(why: str) -> NoReturn:
    """End the process at once: exit is the fence."""
    log.error("engine.fenced", why=why, pid=os.getpid())
    _leave(EXIT_FENCED)


def _leave(code: int) -> NoReturn:
    sys.stderr.flush()
    os._exit(code)


_engine: Engine | None = None


def install(engine: Engine) -> None:
    """Make an engine this process's own."""
    global _engine
    _engine = engine


def current() -> Engine | None:
    """Return this process's engine."""
    return _engine
