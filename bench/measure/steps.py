"""Steps a second and CPU for each step, against the peers, in turns.

A step is one model call over HTTP with the whole transcript, whose answer is durable before the
next one is asked for. For each contestant that is:

- ours: one commit of the journal: the task's counters, a Step row, a ToolCall row. The model asks
  for a tool that there is not, which the runtime answers in the same commit;
- LangGraph: one superstep of a graph of one node, with durability "sync": a checkpoint row, a blob
  of the whole list of messages, the node's writes;
- DBOS: one durable step in a workflow: a row with the step's output;
- the bare loop: one row.

With a tool call a step is a model call and one call of a tool over MCP, by the same SDK in all of
them, with one session a task. That is two commits for ours (the intent before the call is sent),
two supersteps, two durable steps, two rows.
"""

from __future__ import annotations

from collections import defaultdict

from bench import service
from bench.figures import Section, at_least, at_most, median
from bench.harness import PEERS, Stage

OURS = "ours"
DURABLE = ("LangGraph", "DBOS")
SHAPES = {"100 x 10": (100, 10), "20 x 100": (20, 100)}

Figures = dict[str, dict[str, list[dict[str, float]]]]  # by kind, by contestant, a round each


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return who made how many steps, in medians of the rounds."""
    section = Section(title="Steps: one worker process, a model that answers at once")
    found: Figures = defaultdict(lambda: defaultdict(list))
    with service.workers(stage, count=1) as workers:
        for name in (OURS, *PEERS):  # to be warm
            for tool in (False, True):
                _turn(stage, workers, name, tasks=4, steps=4, tool=tool)
        for number in range(1 if quick else 3):
            names = [OURS, *PEERS]
            for name in names[number:] + names[:number]:
                for shape, (tasks, steps) in SHAPES.items():
                    figures = _turn(stage, workers, name, tasks=tasks, steps=steps, tool=False)
                    found[shape][name].append(_per_step(figures, tasks * steps))
                if number < 2:
                    figures = _turn(stage, workers, name, tasks=100, steps=10, tool=True)
                    found["100 x 10 with a tool call"][name].append(_per_step(figures, 1000))
    for kind, contestants in found.items():
        section.rows += _rows(kind, contestants)
        section.lines += ["", f"{kind}: steps a second, CPU a step, memory; each round", ""]
        section.lines += [_line(name, rounds) for name, rounds in contestants.items()]
    return section


def _turn(
    stage: Stage, workers: service.Workers, name: str, *, tasks: int, steps: int, tool: bool
) -> dict[str, float]:
    if name != OURS:
        return stage.peer(name).run(tasks=tasks, steps=steps, tool=tool)
    prompt = service.script(steps=steps, ask="bench__echo" if tool else "none")
    return service.run_tasks(workers, [prompt] * tasks, project="tools" if tool else "plain")


def _per_step(figures: dict[str, float], steps: int) -> dict[str, float]:
    return {
        "rate": steps / figures["seconds"],
        "cpu": figures["cpu"] / steps * 1000,
        "rss": figures["rss"] / 1e6,
    }


def _rows(kind: str, contestants: dict[str, list[dict[str, float]]]) -> list:
    """Return the two ratios; each round is compared within itself, with its best durable peer."""
    rounds = range(len(contestants[OURS]))
    mine = contestants[OURS]
    rates = [
        mine[n]["rate"] / max(contestants[name][n]["rate"] for name in DURABLE) for n in rounds
    ]
    cpus = [mine[n]["cpu"] / min(contestants[name][n]["cpu"] for name in DURABLE) for n in rounds]
    return [
        at_least(f"steps a second, {kind}: ours / best peer", median(rates), must=2.5, aim=5),
        at_most(f"CPU a step, {kind}: ours / best peer", median(cpus), must=0.4, aim=0.2),
    ]


def _line(name: str, rounds: list[dict[str, float]]) -> str:
    rates = " ".join(f"{each['rate']:,.0f}" for each in rounds)
    cpus = " ".join(f"{each['cpu']:.2f}" for each in rounds)
    return (
        f"- {name}: {median([each['rate'] for each in rounds]):,.0f} steps/s, "
        f"{median([each['cpu'] for each in rounds]):.2f} ms CPU, {rounds[-1]['rss']:.0f} MB "
        f"(rounds: {rates} steps/s; {cpus} ms)"
    )
