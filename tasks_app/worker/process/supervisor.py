"""The parent of the small clusters: it forks them, replaces the dead, and passes signals on.

It has one thread and no database connection, so that it can always fork safely and nothing
that happens to the database reaches it.

Signals do not steer: their Python handler is empty, and their numbers arrive through a pipe
in the one place that acts on them. What a parent tells a child goes through a pipe of their
own and not by signal: when a whole process group is signalled, each child has had that signal
already, and the same one again would count as the second.
"""

from __future__ import annotations

import ctypes
import enum
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

logger = logging.getLogger(__name__)

EXIT_FLAPPING = 70  # a small cluster keeps dying: for the outer supervisor to see
EXIT_ABORTED = 71  # work was broken off

PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before the next start, after n quick ends
QUICK_SECONDS = 10.0  # whoever lived longer was well
QUICK_DEATHS = 5
KILL_AFTER_DRAIN = 10.0  # seconds on top of the drain; a small cluster gives up before that
KILL_AFTER_ABORT = 5.0

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class StopLevel(enum.IntEnum):
    """How much of an end was asked for."""

    RUN = 0  # nothing
    DRAIN = 1  # the first SIGTERM or SIGINT: finish turns, hand back, leave
    ABORT = 2  # the second: break off


class Signals:
    """Turns signals into bytes on a pipe, and counts those that ask for an end.

    To be made, and `restore`d, on the main thread.
    """

    def __init__(self, *also: signal.Signals) -> None:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._asked = 0
        # An ignored signal would stay ignored in programs that this one starts: hence a function.
        self._before = {each: signal.signal(each, _do_nothing) for each in (*STOP_SIGNALS, *also)}
        self._fd_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def read(self) -> StopLevel:
        """Take what has arrived and return what all of it so far amounts to."""
        with suppress(BlockingIOError):
            self._asked += sum(number in STOP_SIGNALS for number in os.read(self.fd, 4096))
        return StopLevel(min(self._asked, StopLevel.ABORT))

    def restore(self) -> None:
        """Put back what was there before."""
        signal.set_wakeup_fd(self._fd_before)
        for each, handler in self._before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
        self.close()

    def close(self) -> None:
        """Close the pipe: in a child it is the parent's."""
        os.close(self.fd)
        os.close(self._write_fd)


@dataclass(slots=True)
class _Slot:
    """A place for one small cluster, and the one that is in it."""

    index: int
    child: Callable[[int], int]
    isolated: bool = False  # it may die as often as it likes
    pid: int = 0  # 0: empty
    control_fd: int = -1  # the parent's end of the pipe
    started: float = 0.0  # monotonic
    due: float = 0.0  # monotonic: when to start the next
    quick_ends: int = 0  # in a row, whatever the code
    quick_failures: int = 0  # in a row
    finished: bool = False  # nobody is to come after


class Supervisor:
    """Keeps `count` children that each run `child`.

    `child` gets the reading end of its pipe of orders, on which it reads one byte (an Order)
    at a time and an end of file when the parent is gone. It is called with SIGTERM, SIGINT
    and SIGCHLD blocked, and what it returns is the exit code. `isolated`, when given, is run in one
    more child, whose deaths are nobody else's: it takes what may be what kills workers.
    """

    def __init__(
        self,
        *,
        count: int,
        child: Callable[[int], int],
        drain_seconds: float,
        isolated: Callable[[int], int] | None = None,
        replace: bool = True,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._drain_seconds = drain_seconds
        self._replace = replace
        self._pauses = pauses
        self._slots = [_Slot(index=index, child=child) for index in range(count)]
        if isolated is not None:
            self._slots.append(_Slot(index=count, child=isolated, isolated=True))
        self._level = StopLevel.RUN
        self._deadline = float("inf")  # monotonic: when to kill what is left
        self._code = 0

    def run(self) -> int:
        """Keep the children until told to stop, and return the exit code.

        0: all ended in good order. 70: in one place five in a row failed, each within ten
        seconds. 71: something was broken off, or ended badly while stopping.
        """
        self._signals = Signals(signal.SIGCHLD)
        try:
            while not all(slot.finished for slot in self._slots):
                self._start_due()
                self._sleep()
                self._apply(self._signals.read())
                self._reap()
                self._kill_when_late()
        finally:
            self._signals.restore()
        logger.info("All small clusters have ended, exit code %d.", self._code)
        return self._code

    def _start_due(self) -> None:
        for slot in self._slots:
            if not slot.pid and not slot.finished and slot.due <= time.monotonic():
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        read_fd, write_fd = os.pipe()
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # A signal between the fork and the child's own handlers would land in our pipe.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP_SIGNALS, signal.SIGCHLD))
        slot.pid = os.fork()
        if slot.pid == 0:
            _die_with(parent=parent)
            os.close(write_fd)
            self._run_child(slot.child, read_fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(read_fd)
        os.set_blocking(write_fd, False)
        slot.control_fd = write_fd
        slot.started = time.monotonic()
        logger.info("Small cluster %d started, pid %d.", slot.index + 1, slot.pid)

    def _run_child(self, child: Callable[[int], int], control_fd: int) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            self._signals.close()
            for slot in self._slots:
                if slot.control_fd >= 0:
                    os.close(slot.control_fd)
            code = child(control_fd)
        except BaseException:
            logger.exception("A small cluster failed.")
        finally:
            leave(code=code)

    def _sleep(self) -> None:
        waiting = [slot.due for slot in self._slots if not slot.pid and not slot.finished]
        until = min([self._deadline, *waiting])
        timeout = None if until == float("inf") else max(0.0, until - time.monotonic())
        select.select([self._signals.fd], [], [], timeout)

    def _apply(self, level: StopLevel) -> None:
        if level <= self._level:
            return
        self._level = level
        logger.info("Told to %s.", level.name.lower())
        grace = self._drain_seconds + KILL_AFTER_DRAIN
        if level is StopLevel.ABORT:
            grace = KILL_AFTER_ABORT
        self._deadline = time.monotonic() + grace
        for slot in self._slots:
            slot.finished = not slot.pid
            if slot.pid:
                with suppress(BrokenPipeError, BlockingIOError):  # it has ended, or has two
                    os.write(slot.control_fd, bytes([level]))

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid:
                pid, status = os.waitpid(slot.pid, os.WNOHANG)
                if pid:
                    self._on_child_exit(slot, os.waitstatus_to_exitcode(status))

    def _on_child_exit(self, slot: _Slot, code: int) -> None:
        lived = time.monotonic() - slot.started
        logger.log(
            logging.WARNING if code else logging.INFO,
            "Small cluster %d, pid %d, ended with code %d after %.1f s.",
            *(slot.index + 1, slot.pid, code, lived),
        )
        os.close(slot.control_fd)
        slot.pid, slot.control_fd = 0, -1
        if self._level is not StopLevel.RUN or not self._replace:
            slot.finished = True
            if code and not self._code:
                self._code = EXIT_ABORTED
            return
        quick = lived < QUICK_SECONDS
        slot.quick_ends = slot.quick_ends + 1 if quick else 0
        slot.quick_failures = slot.quick_failures + 1 if quick and code else 0
        if slot.quick_failures >= QUICK_DEATHS and not slot.isolated:
            logger.error("Small cluster %d keeps dying; giving up.", slot.index + 1)
            self._code = EXIT_FLAPPING
            self._apply(StopLevel.DRAIN)
            return
        pause = self._pauses[min(max(0, slot.quick_ends - 1), len(self._pauses) - 1)]
        slot.due = time.monotonic() + pause

    def _kill_when_late(self) -> None:
        if time.monotonic() < self._deadline:
            return
        self._deadline = float("inf")
        for slot in self._slots:
            if slot.pid:
                logger.error("Small cluster %d is late, killing pid %d.", slot.index + 1, slot.pid)
                os.kill(slot.pid, signal.SIGKILL)


def leave(*, code: int) -> NoReturn:
    """End this process without unwinding what it inherited from its parent by the fork."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _die_with(*, parent: int) -> None:
    """Have the kernel kill this process when its parent ends. Elsewhere the pipe's end tells.

    The kernel means the parent's *thread* that forked (ours has one), forgets the wish at each
    fork, and says nothing about a parent that ended before the wish was made.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(EXIT_ABORTED)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Let the signal be noted on the pipe."""
