"""Memory of one worker process that holds 1,000 tasks with transcripts of 4 kB."""

from __future__ import annotations

from bench import service
from bench.figures import Section, at_most
from bench.harness import Stage
from bench.machine import own_bytes, resident_bytes
from bench.processes import wait_until

TASKS = 1000
PADDING = "A ticket says that the printer on the third floor is out of paper again. " * 55


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return the process's memory while all its tasks wait for the model's second answer."""
    with service.workers(stage, count=1, CAYLEX_TASKS_PER_WORKER=str(TASKS)) as workers:
        idle = max(map(own_bytes, workers.pids)), max(map(resident_bytes, workers.pids))
        before = stage.served("stats")["requests"]
        prompt = service.script(steps=2, ask="none", delay=8) + " " + PADDING
        tasks = service.submit_many([prompt] * TASKS)
        wait_until(
            lambda: stage.served("stats")["requests"] >= before + 2 * TASKS,
            what="the second step of all",
            every=0.1,
        )
        held = stage.served("stats")["waiting"]
        own = max(map(own_bytes, workers.pids))
        resident = max(map(resident_bytes, workers.pids))
        service.wait_for(tasks)
    return Section(
        title=f"Memory: one worker process with {held:,} tasks in flight, 4 kB of prompt each",
        rows=[
            at_most(
                "memory with 1,000 tasks in flight", resident / 1e6, must=150, aim=80, unit=" MB"
            )
        ],
        lines=[
            (
                f"- idle: {idle[1] / 1e6:.0f} MB resident, {idle[0] / 1e6:.0f} MB with shared "
                "pages divided among those who share them (PSS)"
            ),
            (
                f"- with the tasks: {resident / 1e6:.0f} MB resident, {own / 1e6:.0f} MB (PSS), "
                f"{(resident - idle[1]) / TASKS / 1000:.0f} kB a task"
            ),
        ],
    )
