"""Submits, polls and known polls a second that one web process answers, from 32 connections."""

from __future__ import annotations

from django.db import connection

from bench import service, web
from bench.figures import Row, Section, at_least, median
from bench.harness import Stage


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return the medians of some rounds, each kind in turns; no worker runs."""
    rounds, seconds = (1, 2.0) if quick else (3, 4.0)
    section = Section(title="Requests: one uvicorn process, 32 connections")
    with service.workers(stage, count=1) as workers:
        done = service.submit_many([service.script(steps=2, ask="none")] * 100)
        service.wait_for(done)
        assert workers.pids
    polls = [f"/api/v1/agent-task/{task}" for task in done]
    body = web.submission(stage, service.script(steps=1))
    rates: dict[str, list[float]] = {"submits": [], "polls": [], "known polls": []}
    with web.running_web(stage) as address:
        web.load(stage, address, polls, seconds=1)
        for _ in range(rounds):
            answers = {
                "submits": web.load(
                    stage,
                    address,
                    ["/api/v1/agent-task"],
                    method="POST",
                    body=body,
                    seconds=seconds,
                ),
                "polls": web.load(stage, address, polls, seconds=seconds),
                "known polls": web.load(stage, address, polls, known="*", seconds=seconds),
            }
            for name, seen in answers.items():
                rates[name].append(seen["rate"])
                section.lines.append(
                    f"- {name}: {seen['rate']:,.0f} a second, p50 {seen['p50'] * 1000:.0f} ms, "
                    f"p95 {seen['p95'] * 1000:.0f} ms, statuses {seen['statuses']}"
                )
    _forget_open_tasks()
    section.rows += _rows(rates)
    return section


def _rows(rates: dict[str, list[float]]) -> list[Row]:
    return [
        at_least("submits a second", median(rates["submits"]), must=200, aim=500),
        at_least("polls a second", median(rates["polls"]), must=300, aim=600),
        at_least(
            "polls a second that end in 304", median(rates["known polls"]), must=1000, aim=3000
        ),
    ]


def _forget_open_tasks() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tasks_app_agenttask WHERE status = 'PENDING'")
        cursor.execute("DELETE FROM django_q_ormq")
