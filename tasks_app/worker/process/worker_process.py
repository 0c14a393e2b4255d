"""A small cluster: a whole django-q2 cluster, and the engine, in one process.

The stock `worker()` runs on the main thread, where its timeouts work; the stock guard, pusher
and monitor run on side threads of a `Sentinel` subclass. Nothing is shared between processes,
so one that dies takes no lock with it. The engine starts when the worker does, on a thread of
its own.

How it ends: a fourth thread watches for orders, from the parent's pipe and from signals. The
first makes the engine drain and stops the cluster; the second, or a drain that takes too
long, aborts the engine; an abort that takes too long ends the process.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import select
import signal
import threading
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from django.conf import settings
from django_q.brokers import get_broker
from django_q.cluster import Sentinel
from django_q.signals import post_spawn
from django_q.worker import worker

from tasks_app.notifications import wakeup
from tasks_app.worker.process.supervisor import EXIT_ABORTED, STOP_SIGNALS, Signals, StopLevel

logger = logging.getLogger(__name__)

DRAIN_MARGIN = 5.0  # seconds that the engine may need beyond its own drain deadline
ABORT_SECONDS = 3.0  # that an abort may take
QUEUE_SECONDS = 3.0  # that django-q2's threads may take to end after the engine
WATCH_SECONDS = 0.5  # how often the engine is looked at
# New objects, and passes of the younger generations, between two collections. With thousands of
# tasks in hand Python's own 700 and 10 took a quarter of the time, and stopped the loop for 0.4 s;
# 10,000 still took an eighth. A step leaves next to nothing behind that only a collection frees.
COLLECT_AFTER = (50_000, 20, 100)
# The threads of uvloop, half of which may look up names: with its own 4, two names on a silent name
# server would hold up whoever connects.
UV_THREADPOOL_SIZE = "32"


class Engine(Protocol):
    """What a small cluster needs of `tasks_app.worker.engine.Engine`; see there."""

    def start(self) -> None: ...
    def wake(self) -> None: ...
    def drain(self) -> None: ...
    def abort(self) -> None: ...
    def join(self, timeout: float | None) -> int | None: ...


def engine_module() -> ModuleType:
    """Return the module with `Engine` and `install`; `settings.CAYLEX_ENGINE` is for tests."""
    return import_module(getattr(settings, "CAYLEX_ENGINE", "tasks_app.worker.engine"))


def run(
    *,
    control_fd: int,
    queue_name: str | None,
    drain_seconds: float,
    once: bool = False,
    quarantine: bool = False,
) -> int:
    """Run a small cluster in this process until it has ended, and return the exit code.

    Called by the parent's fork, on the main thread, with the stop signals blocked. With `once`
    it drains as soon as it has started. With `quarantine` its engine takes the tasks that may be
    what kills workers, and no others.
    """
    gc.set_threshold(*COLLECT_AFTER)
    os.environ.setdefault("UV_THREADPOOL_SIZE", UV_THREADPOOL_SIZE)
    module = engine_module()
    engine: Engine = module.Engine(quarantine=quarantine)
    module.install(engine)
    sentinel = ThreadSentinel(
        broker=get_broker(queue_name)
    )  # its __init__ sets signal handlers: before ours
    shutdown = Shutdown(engine=engine, stop=sentinel.stop_event.set, drain_seconds=drain_seconds)
    ShutdownWatcher(
        engine=engine, shutdown=shutdown, control_fd=control_fd, signals=Signals()
    ).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, signal.SIGCHLD))

    def start_engine(**_: object) -> None:
        engine.start()
        wakeup.set_wakeup_handler(wake=engine.wake)
        shutdown.engine_started()
        if once:
            shutdown.apply(StopLevel.DRAIN)

    post_spawn.connect(start_engine, weak=False)
    sentinel.spawn_cluster()
    guard = threading.Thread(target=sentinel.guard, name="guard", daemon=True)
    guard.start()
    sentinel.main.run()
    shutdown.apply(StopLevel.DRAIN)  # after a timed-out job the worker returns without being told
    code = engine.join(None)
    guard.join(QUEUE_SECONDS)
    return EXIT_ABORTED if code is None else code


class InlineWorker:
    """The worker, in the clothes of a process: what the sentinel's pool holds."""

    def __init__(self, *args: Any) -> None:
        self.name = "worker"
        self.pid = os.getpid()
        self.timer = args[2]  # the guard counts it down
        self._args = args
        self._ended = threading.Event()

    def run(self) -> None:
        """Run the stock worker until the poison pill, or until a job of it has timed out."""
        try:
            worker(*self._args)
        finally:
            self._ended.set()

    def is_alive(self) -> bool:
        """Tell whether the worker still runs or is about to."""
        return not self._ended.is_set()

    def wait(self, timeout: float) -> bool:
        """Return whether the worker has ended, after `timeout` seconds at most."""
        return self._ended.wait(timeout)


class HelperThread(threading.Thread):
    """The pusher or the monitor, in the clothes of a process."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        super().__init__(target=target, args=args, name=target.__name__, daemon=True)
        self.pid = os.getpid()


class ThreadQueue(queue.Queue[Any]):
    """A queue between threads, with the methods that the sentinel expects.

    The stock queue is a pipe with a feeder thread that closes both ends when the sentinel has
    put its poison pills: between processes that is good manners, in one it takes the pipe
    away under the reader.
    """

    def close(self) -> None:
        """Keep what is in it."""

    def join_thread(self) -> None:
        """There is none."""


class ThreadSentinel(Sentinel):  # type: ignore[misc]
    """The stock sentinel, with threads where it has processes. To be made on the main thread."""

    main: InlineWorker

    def __init__(self, *, broker: Any) -> None:
        super().__init__(
            threading.Event(), threading.Event(), uuid.uuid4(), broker=broker, start=False
        )
        self.pool_size = 1
        self.task_queue = ThreadQueue(maxsize=1)
        self.result_queue = ThreadQueue()

    def spawn_process(self, target: Callable[..., None], *args: Any) -> InlineWorker | HelperThread:
        """Start a side thread; the worker instead waits until the main thread runs it."""
        if target is worker:
            self.main = InlineWorker(*args)
            self.pool.append(self.main)
            return self.main
        thread = HelperThread(target, args)
        thread.start()
        return thread

    def reincarnate(self, process: InlineWorker | HelperThread) -> None:
        """Start a dead pusher or monitor again. A worker's end is the small cluster's.

        A worker that has returned is on its way out already. One that its timeout could not
        stop hangs where no exception reaches it: then the process has to go.
        """
        if isinstance(process, HelperThread):
            super().reincarnate(process)
        elif not process.wait(1.0):
            logger.critical("A job hangs beyond its timeout; ending the process.")
            os._exit(EXIT_ABORTED)
        elif self.pool:
            self.pool.remove(process)


class Shutdown:
    """Obeys orders to end, each once, from whichever thread they come."""

    def __init__(self, *, engine: Engine, stop: Callable[[], None], drain_seconds: float) -> None:
        self._engine = engine
        self._stop = stop
        self._drain_seconds = drain_seconds
        self._lock = threading.Lock()
        self._level = StopLevel.RUN
        self.started = False  # the engine
        self.deadline = float("inf")  # monotonic: when the next harder order is due

    @property
    def level(self) -> StopLevel:
        """The hardest order so far."""
        return self._level

    def apply(self, level: StopLevel) -> None:
        """Pass the order on, unless one as hard came before."""
        with self._lock:
            if level <= self._level:
                return
            self._level = level
            logger.info("Told to %s.", level.name.lower())
            grace = ABORT_SECONDS
            if level is StopLevel.DRAIN:
                grace = self._drain_seconds + DRAIN_MARGIN
            self.deadline = time.monotonic() + grace
            self._stop()
            if self.started:
                self._apply_to_engine()

    def engine_started(self) -> None:
        """From now on the engine can be told; what came before it started it is told now."""
        with self._lock:
            self.started = True
            self._apply_to_engine()

    def _apply_to_engine(self) -> None:
        if self._level is StopLevel.DRAIN:
            self._engine.drain()
        elif self._level is StopLevel.ABORT:
            self._engine.abort()


class ShutdownWatcher(threading.Thread):
    """Waits for orders and deadlines. Nothing that blocks the main thread blocks it."""

    def __init__(
        self, *, engine: Engine, shutdown: Shutdown, control_fd: int, signals: Signals
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._engine = engine
        self._shutdown = shutdown
        self._control_fd = control_fd
        self._signals = signals
        self._engine_gone = float("inf")  # monotonic: since when

    def run(self) -> None:
        """Obey until the process ends.

        1. Signals and the parent's pipe are the same order twice when a group is signalled.
        2. The parent is gone: so are we. (Where the kernel can, it has killed us by now.)
        3. A deadline that has passed is the next harder order; after an abort, the end.
        4. An engine that ends unasked is of no use to anybody: make room for a fresh one.
           One that was asked leaves the queue's threads a moment: a pusher can hang in a
           connect, and nobody waits for it.
        """
        while True:
            ready, _, _ = select.select([self._signals.fd, self._control_fd], [], [], WATCH_SECONDS)
            if self._control_fd in ready:
                received = os.read(self._control_fd, 16)
                if not received:
                    os._exit(EXIT_ABORTED)
                self._shutdown.apply(StopLevel(max(received)))
            self._shutdown.apply(self._signals.read())
            self._check_deadline()
            self._check_engine()

    def _check_deadline(self) -> None:
        if time.monotonic() < self._shutdown.deadline:
            return
        if self._shutdown.level is StopLevel.ABORT:
            logger.error("The abort took too long; ending the process.")
            os._exit(EXIT_ABORTED)
        logger.error("The drain took too long; aborting.")
        self._shutdown.apply(StopLevel.ABORT)

    def _check_engine(self) -> None:
        code = self._engine.join(0) if self._shutdown.started else None
        if code is None:
            return
        if self._shutdown.level is StopLevel.RUN:
            logger.error("The engine has ended by itself, with code %d.", code)
            os._exit(code or EXIT_ABORTED)
        self._engine_gone = min(self._engine_gone, time.monotonic())
        if time.monotonic() > self._engine_gone + QUEUE_SECONDS:
            logger.warning("The queue's threads do not end; leaving without them.")
            os._exit(code)
