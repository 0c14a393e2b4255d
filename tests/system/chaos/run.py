"""`make chaos`: a real service under load, a monkey that breaks it, a checker that looks.

    python -m tests.system.chaos.run --database postgresql --seconds 600 --seed 1

Exits with 0 when everything ended as scripted. See docs/chaos.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import socket
import sys
import tempfile
import uuid
from pathlib import Path

import django

from tests.system.chaos.databases import open_database
from tests.system.chaos.faults import GUARDED
from tests.system.chaos.scenario import MODEL

LEASE = 6.0  # seconds; short, so that many a lease runs out in a run
TASKS_A_SECOND = 2.5


def main() -> None:
    """Set the stage, run, and clear it away; what failed keeps its folder."""
    given = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="caylex-chaos-"))
    folder.chmod(0o755)  # the database server may run as another user
    database = open_database(kind=given.database, folder=folder)
    model_port, ledger_port = _free_ports(2)
    os.environ.update(_environment(database.url, model_port))
    if given.without:
        os.environ["CHAOS_WITHOUT"] = given.without
    django.setup()
    logging.getLogger("django-q").setLevel(logging.WARNING)  # each knock of the load is news to it
    from tests.system.chaos.run_chaos import Plan, run  # models can be imported only now

    tell(f"seed {given.seed}, {given.database}, {given.seconds:g} s, {given.tasks} tasks, {folder}")
    plan = Plan(
        seconds=given.seconds,
        tasks=given.tasks,
        seed=given.seed,
        lease=LEASE,
        folder=folder,
        model_port=model_port,
        ledger_port=ledger_port,
        favour=given.favour or given.without,
        mark=f"CHAOS_RUN={uuid.uuid4()}",
    )
    try:
        passed = run(plan=plan, database=database, tell=tell)
    finally:
        database.close()
    if passed and not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if passed else 1)


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Break a running service and look.")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults are made")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--tasks", type=int, help=f"default: {TASKS_A_SECOND} a second")
    parser.add_argument(
        "--without", choices=GUARDED, default="", help="take a fence out: the run has to fail"
    )
    parser.add_argument(
        "--favour", choices=GUARDED, default="", help="more of a fence's faults, with it in place"
    )
    parser.add_argument("--keep", action="store_true", help="keep the books and logs")
    given = parser.parse_args()
    given.tasks = given.tasks or int(given.seconds * TASKS_A_SECOND)
    return given


def _environment(database_url: str, model_port: int) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "tests.system.chaos.settings",
        "DATABASE_URL": database_url,
        "DEBUG": "0",
        "SECRET_KEY": "a-key-for-chaos-alone-" + "x" * 40,
        "CAYLEX_CREDENTIAL_KEYS": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
        "ALLOWED_HOSTS": "localhost",
        "CAYLEX_PRIVATE_NETWORKS": "127.0.0.0/8",
        "OPENROUTER_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
        "CAYLEX_ALLOWED_MODELS": MODEL,
        "CAYLEX_DEFAULT_MODEL": MODEL,
        "CAYLEX_LEASE_SECONDS": f"{LEASE:g}",
        "CAYLEX_HEARTBEAT_SECONDS": "1",
        "CAYLEX_DRAIN_SECONDS": "2",
        "CAYLEX_MODEL_STALL_SECONDS": "20",
        "PYTHONUNBUFFERED": "1",
    }


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    main()
