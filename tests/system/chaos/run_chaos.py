"""One chaos run from the first process to the verdict. To be imported after Django's set-up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tasks_app.models import AgentTask, Worker
from tasks_app.states import TERMINAL, WorkerState
from tests.support.fork_server import ROOT
from tests.system.chaos.checker import Figures, check, figures, summary
from tests.system.chaos.databases import Postgresql, Sqlite
from tests.system.chaos.evidence import gather
from tests.system.chaos.fault_injector import Monkey
from tests.system.chaos.faults import GUARDED, Fault
from tests.system.chaos.load import Load
from tests.system.chaos.probe import Probe
from tests.system.chaos.rows import insist
from tests.system.chaos.scenario import script_of
from tests.system.chaos.units import Unit, marked_processes

REST = 150.0  # seconds in which all tasks have to end once the faults have
STOP = 30.0  # seconds in which a parent has to end
TENANTS = ("acme", "globex")
DEFECTS = re.compile(r"task\.broke|engine\.broke|A small cluster failed|journal\.batch_refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run: times in seconds, ports of loopback, and where everything is kept."""

    seconds: float
    tasks: int
    seed: int
    lease: float
    folder: Path
    model_port: int
    ledger_port: int
    favour: str  # the fence whose faults are made more often, or nothing
    mark: str  # an environment entry that all worker processes carry


def run(*, plan: Plan, database: Postgresql | Sqlite, tell: Callable[[str], None]) -> bool:
    """Run, print the table, and return whether everything was as it has to be."""
    scripts = [script_of(seed=plan.seed, number=number) for number in range(plan.tasks)]
    with _servers(plan):
        _manage("migrate", "--verbosity", "0")
        for tenant in TENANTS:
            _provision(plan, tenant)
        with _units(plan) as units:
            load = Load(scripts=scripts, seconds=plan.seconds * 0.9, seed=plan.seed)
            probe = Probe()
            monkey = Monkey(
                seed=plan.seed,
                units=units,
                database=database,
                load=load,
                lease=plan.lease,
                favourites=GUARDED.get(plan.favour, ()),
                tell=tell,
            )
            load.start()
            probe.start()
            monkey.run(seconds=plan.seconds)
            load.stop()
            tell("The faults are over; waiting for the tasks to end.")
            violations = [*_rest(units), *([str(load.failure)] if load.failure else [])]
            probe.stop()
            violations += _stop(units, plan)
        evidence = gather(
            scripts=load.submitted,
            model_book=plan.folder / "model.jsonl",
            ledger_book=plan.folder / "ledger.jsonl",
        )
    violations += check(evidence)
    violations += [f"{name}: {seen}" for name, seen in probe.found.items()]
    violations += _defects(units)
    _print(tell, figures(evidence, monkey.faults), monkey.faults, units, probe)
    for violation in violations:
        tell(f"VIOLATION  {violation}")
    tell(f"FAIL: {len(violations)} violations" if violations else "PASS")
    return not violations


def _manage(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"manage.py {arguments[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _provision(plan: Plan, tenant: str) -> None:
    url = f"http://127.0.0.1:{plan.ledger_port}/mcp"
    wanted = {
        "tenant": tenant,
        "project": "chaos",
        "servers": [{"name": "ledger", "url": url}],
    }
    path = plan.folder / f"{tenant}.yaml"
    path.write_text(yaml.safe_dump(wanted))
    assert json.loads(_manage("provision", str(path), "--json"))


@contextlib.contextmanager
def _servers(plan: Plan) -> Iterator[None]:
    """Keep the model and the ledger up, out of the monkey's reach."""
    model = ["--seed", str(plan.seed), "--port", str(plan.model_port)]
    commands = {"model": model, "ledger": ["--port", str(plan.ledger_port)]}
    processes = []
    try:
        for name, arguments in commands.items():
            book = plan.folder / f"{name}.jsonl"
            book.touch()
            with (plan.folder / f"{name}.log").open("wb") as log:
                command = [sys.executable, "-m", f"tests.system.chaos.{name}", *arguments]
                processes.append(
                    subprocess.Popen(
                        [*command, "--book", str(book)],
                        cwd=ROOT,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        yield
        for process in processes:
            assert process.poll() is None, "a server of the run ended by itself"
    finally:
        for process in processes:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def _units(plan: Plan) -> Iterator[list[Unit]]:
    name, _, value = plan.mark.partition("=")
    environment = {**os.environ, name: value, "CAYLEX_WORKERS": "1"}
    units: list[Unit] = []
    try:
        for number in (1, 2):
            log = plan.folder / f"unit-{number}.log"
            units.append(Unit(name=f"unit {number}", environment=environment, log=log))
        _until(lambda: insist(_living_workers) >= len(units), seconds=60)
        yield units
    finally:
        for unit in units:
            unit.destroy()


def _living_workers() -> int:
    return Worker.objects.filter(state=WorkerState.ALIVE).count()


def _until(look: Callable[[], bool], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if look():
            return True
        time.sleep(0.1)
    return False


def _rest(units: Sequence[Unit]) -> list[str]:
    """Wait until all tasks have ended and both parents are up; return what did not happen."""

    def open_tasks() -> int:
        return insist(lambda: AgentTask.objects.exclude(status__in=TERMINAL).count())

    problems = []
    if not _until(lambda: not open_tasks(), seconds=REST):
        problems.append(f"{open_tasks()} tasks did not end within {REST:g} s after the faults")
    if not _until(lambda: all(unit.workers() for unit in units), seconds=REST):
        problems.append("a unit has no worker")
    return problems


def _stop(units: Sequence[Unit], plan: Plan) -> list[str]:
    problems = []
    for unit in units:
        code = unit.stop(patience=STOP)
        if code != 0:
            problems.append(f"{unit.name} ended with {code}, not 0, when it was stopped")
        if unit.survivors():
            problems.append(f"{unit.name} left the processes {unit.survivors()}")
    left = marked_processes(plan.mark)
    if left:
        problems.append(f"the processes {left} are left over")
    return problems


def _defects(units: Sequence[Unit]) -> list[str]:
    found: Counter[str] = Counter()
    for unit in units:
        found.update(DEFECTS.findall(unit.log.read_text(errors="replace")))
    return [f"the logs say {words!r} {count} times" for words, count in found.items()]


def _print(
    tell: Callable[[str], None],
    numbers: Figures,
    faults: Sequence[Fault],
    units: Sequence[Unit],
    probe: Probe,
) -> None:
    rows: Mapping[str, object] = {
        **{f"fault: {kind.value}": n for kind, n in Counter(f.kind for f in faults).items()},
        "faults": len(faults),
        "tasks": dict(numbers.tasks),
        "steps": numbers.steps,
        "tool calls": numbers.calls,
        "turns paid twice": numbers.paid_twice,
        "calls in doubt (unknown outcome)": numbers.in_doubt,
        "repeatable calls sent again": numbers.sent_again,
        "taken over / handed back / waited": (
            f"{numbers.taken_over} / {numbers.handed_back} / {numbers.waited}"
        ),
        "kill of a worker to its victims' next claim": summary(numbers.claims),
        "kill of a worker to their next request": summary(numbers.requests),
        "exit codes of the parents": dict(Counter(c for u in units for c in u.exit_codes)),
        "looks at the rows": probe.looks,
    }
    for name, value in rows.items():
        tell(f"{name:<50}{value}")
