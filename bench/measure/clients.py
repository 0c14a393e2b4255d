"""What 1,000 clients that wait cost a web process, and how soon they hear of a change.

Each waits for a task of its own that no worker takes, in a poll with `?wait=` or on a stream of
events; a web process for each of the two kinds. The costs are memory, threads and database
connections.
"""

from __future__ import annotations

import contextlib
import re
import resource
import select
import socket
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connection

from bench import service, web
from bench.figures import Section, at_most, percentile
from bench.harness import Stage
from bench.machine import cpu_seconds, resident_bytes
from bench.processes import wait_until

CLIENTS = 1000
CHANGES = 40  # of so many tasks, one after the other, while all wait
KINDS = {"?wait=": ("?wait=60", "application/json"), "streams": ("/events", "text/event-stream")}


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return what is held for the clients of each kind beyond a process that has served some."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the web process inherits it
    section = Section(title=f"Clients: {CLIENTS:,} that wait, one uvicorn process")
    tasks = service.submit_many([service.script(steps=1)] * CLIENTS)
    for turn, (kind, (below, accept)) in enumerate(KINDS.items()):
        with web.web_process(stage) as (address, pid):
            paths = [f"/api/v1/agent-task/{task}" for task in tasks]
            web.load(stage, address, paths, seconds=2)
            before = _held(pid)
            clients = [_ask(stage, address, f"{path}{below}", accept) for path in paths]
            wait_until(lambda pid=pid: _is_quiet(pid), what="the first answers to all")
            after = _held(pid)
            picked = slice(turn, None, CLIENTS // CHANGES)
            woken = _woken(tasks[picked], clients[picked])
            for each in clients:
                each.close()
        memory, threads, connections = (
            late - early for early, late in zip(before, after, strict=True)
        )
        section.rows += [
            at_most(f"1,000 clients, {kind}: memory", memory / 1e6, must=100, aim=30, unit=" MB"),
            at_most(f"1,000 clients, {kind}: threads more", threads, must=20, aim=0),
            at_most(f"1,000 clients, {kind}: connections more", connections, must=20, aim=0),
            at_most(
                f"1,000 clients, {kind}: woken, p95",
                percentile(woken, 0.95),
                must=250,
                aim=100,
                unit=" ms",
            ),
        ]
        section.lines.append(
            f"- {kind}: {before[0] / 1e6:.0f} MB, {before[1]} threads and {before[2]} database "
            f"connections before, {after[0] / 1e6:.0f} MB, {after[1]} and {after[2]} with them; "
            f"{CHANGES} changes reached their clients in p50 {percentile(woken, 0.5):.0f} ms, p95 "
            f"{percentile(woken, 0.95):.0f} ms"
        )
    _forget(tasks)
    return section


def _ask(stage: Stage, address: str, path: str, accept: str) -> socket.socket:
    place = urlsplit(address)
    client = socket.create_connection((place.hostname, place.port), timeout=60)
    headers = {"Host": place.hostname, "Accept": accept, **web.headers(stage)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    client.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    return client


def _woken(tasks: list[uuid.UUID], clients: list[socket.socket]) -> list[float]:
    """Cancel the tasks one by one; return the milliseconds until each one's client hears of it."""
    from django.utils import timezone

    from tasks_app.operations.cancel import cancel

    took = []
    for task, client in zip(tasks, clients, strict=True):
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while client.recv(65536):
                pass
        began = time.perf_counter()
        cancel(task_id=task, tenant_id=None, reason="", now=timezone.now())
        heard, _, _ = select.select([client], [], [], 10)
        assert heard, f"nobody told of {task}"
        took.append((time.perf_counter() - began) * 1000)
    return took


def _is_quiet(pid: int) -> bool:
    """Tell whether the process does next to nothing for a second."""
    before = cpu_seconds(pid)
    time.sleep(1)
    return cpu_seconds(pid) - before < 0.1


def _held(pid: int) -> tuple[int, int, int]:
    """Return the process's memory and threads, and the database's connections but for ours."""
    found = re.search(r"Threads:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return resident_bytes(pid), int(found[1]), int(cursor.fetchone()[0])


def _forget(tasks: list[uuid.UUID]) -> None:
    from tasks_app.models import AgentTask

    AgentTask.objects.filter(pk__in=tasks).delete()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_q_ormq")
