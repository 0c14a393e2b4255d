"""What a late step of a long task costs against an early one.

One task at a time, of 210 steps; the time between two requests to the model is a step. Step 200
stands for the steps 190 to 209, step 10 for the steps 5 to 24.
"""

from __future__ import annotations

from itertools import pairwise

from bench import service
from bench.figures import Section, at_most, median
from bench.harness import Stage

STEPS = 210


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return the ratio of the medians, over some tasks."""
    early, late = [], []
    with service.workers(stage, count=1) as workers:
        for number in range(2 if quick else 6):
            key = f"growth{number}"
            prompt = service.script(steps=STEPS, ask="none", log=1, id=key)
            service.run_tasks(workers, [prompt])
            intervals = [after - before for before, after in pairwise(stage.served("log")[key])]
            early += intervals[4:24]
            late += intervals[189:209]
    ratio = median(late) / median(early)
    return Section(
        title="Growth: one task of 210 steps, alone",
        rows=[at_most("growth: cost of step 200 / step 10", ratio, must=1.3, aim=1.1)],
        lines=[
            (
                f"- step 10: {median(early) * 1000:.2f} ms, step 200: {median(late) * 1000:.2f} ms "
                "(medians of wall time)"
            )
        ],
    )
