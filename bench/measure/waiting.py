"""Many tasks that wait for a slow model: 5 steps of 2 seconds each, two worker processes.

The clock starts when all tasks are committed and due, and stops when the last has ended.
"""

from __future__ import annotations

import threading

from bench import service
from bench.figures import Section, at_most
from bench.harness import Stage
from bench.machine import own_bytes

STEPS, DELAY = 5, 2
IDEAL = STEPS * DELAY


class Watch(threading.Thread):
    """Looks at the memory of processes until told to stop."""

    def __init__(self, workers: service.Workers) -> None:
        super().__init__(daemon=True)
        self._workers = workers
        self._stopped = threading.Event()
        self.rss = self.own = 0

    def run(self) -> None:
        while not self._stopped.wait(0.5):
            pids = self._workers.pids
            self.rss = max(self.rss, self._workers.rss())
            self.own = max(self.own, sum(map(own_bytes, pids)))

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return how far from the ideal, and what memory it took."""
    section = Section(title="Waiting: a model that takes 2 s, 5 steps, 2 worker processes")
    for tasks, capacity in ((1000, 500), (5000, 2500)):
        with service.workers(stage, count=2, CAYLEX_TASKS_PER_WORKER=str(capacity)) as workers:
            before = stage.served("stats")["requests"]
            watch = Watch(workers)
            watch.start()
            prompt = service.script(steps=STEPS, ask="none", delay=DELAY)
            figures = service.run_tasks(workers, [prompt] * tasks)
            watch.stop()
            stats = stage.served("stats")
        asked = stats["requests"] - before
        floor = stage.peer("bare loop").run(tasks=tasks, steps=STEPS, delay=DELAY)["seconds"]
        _report(section, tasks, figures["since_due"], watch)
        section.lines.append(
            f"- {tasks:,} tasks: {figures['since_due']:.2f} s (ideal {IDEAL} s), all completed, "
            f"{asked:,} requests to the model of {tasks * STEPS:,} needed, at most "
            f"{stats['most_waiting']:,} at once; {watch.rss / 1e6:.0f} MB resident in 3 processes, "
            f"pages that they share counted each time, {watch.own / 1e6:.0f} MB counted once; "
            f"{figures['cpu']:.1f} s CPU; the bare loop, in one process: {floor:.2f} s"
        )
    return section


def _report(section: Section, tasks: int, seconds: float, watch: Watch) -> None:
    ratio = seconds / IDEAL
    if tasks == 1000:
        section.rows.append(at_most("1,000 waiting tasks: time / ideal", ratio, must=1.2, aim=1.05))
        return
    section.rows.append(at_most("5,000 waiting tasks: time / ideal", ratio, must=1.5, aim=1.25))
    section.rows.append(
        at_most(
            "5,000 waiting tasks: memory together", watch.own / 1e6, must=600, aim=350, unit=" MB"
        )
    )
