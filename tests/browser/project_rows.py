"""A project beside its tasks, as rows, and tasks that stand still: for pictures."""

from __future__ import annotations

import datetime
from typing import Any

from caylex_project.accounts.audit import record
from caylex_project.accounts.keys import issue_platform_token
from caylex_project.accounts.models import NavigatorKey, StaffScope
from caylex_project.integrations.credentials import store_credential
from skills_app.operations import store_skill
from skills_app.parsing.assets import asset_of
from skills_app.parsing.skill_md import parse_skill
from tasks_app.failures import GIVEN_UP
from tasks_app.models import AgentTask, BulkOperation, WebhookDelivery, WebhookEndpoint
from tasks_app.webhooks.secrets import make_secret
from tests.browser.support_day import Scene
from tests.support.factories import (
    EventFactory,
    ServerInstanceFactory,
    ToolPermissionFactory,
    WorkerFactory,
)

SKILL = """---
name: Weekly report
description: Summarise the tickets of a week by category, product and state.
license: MIT
---

# How

Count the tickets of the last seven days. Say which three causes came up most often.
"""
AWAY = f"The model provider failed (HTTP 503): no. {GIVEN_UP.format(attempt=5)}"
SEARCH = {"name": "search", "description": "Finds customers by name.", "repeatable": True}
WIPE = {"name": "wipe", "description": "Deletes a customer for good.", "repeatable": False}


def furnish(scene: Scene, *, boss: Any, limited: Any) -> dict[str, AgentTask]:
    """Make a row of every kind; return tasks in states that the day lacks, by name."""
    now, project = scene.now, scene.project
    issue_platform_token(tenant=scene.tenant, name="backend of the shop")
    NavigatorKey.objects.create(navigator=scene.navigator, digest="d" * 64)
    crm = ServerInstanceFactory(
        project=project,
        server__name="crm",
        server__auth_kind="bearer",
        auth_level="user",
        tools=[SEARCH, WIPE],
        tools_listed_at=now,
    )
    store_credential(instance=crm, end_user=scene.people[0], value="planted-s3cret-1")
    ToolPermissionFactory(instance=crm, navigator=scene.navigator)
    store_skill(project=project, parsed=parse_skill(SKILL, files={"notes/causes.md": "# Causes"}))
    again = SKILL.replace("three causes", "five causes")
    assets = {"assets/logo.png": asset_of("assets/logo.png", b"\x89PNG" * 3_000)}
    again_with_a_logo = parse_skill(again, files={"notes/causes.md": "# Causes"}, assets=assets)
    store_skill(project=project, parsed=again_with_a_logo)
    make_secret(project=project)
    StaffScope.objects.create(user=limited).projects.add(project)
    for state, pid in (("draining", 4118), ("dead", 3991)):
        WorkerFactory(host="tasks-2", pid=pid, state=state, started_at=now)
    many = {"actor": "ada", "reason": "The import was started twice", "subject_ids": ["x"] * 600}
    BulkOperation.objects.create(action="cancel", position=240, done=238, **many)
    for action in ("pause", "change limits", "enable"):
        record(actor=boss, action=action, on=project, project_id=project.pk, now=now)
    return standing_still(scene)


def standing_still(scene: Scene) -> dict[str, AgentTask]:
    """Make tasks that have ended badly, and one that stops."""
    failed = scene.ended(
        0,
        ago=900,
        took=31,
        status="FAILED",
        stop_reason="error",
        report="The agent wrote no report; this account is the engine's. It stopped because the "
        f"task failed: {AWAY} Tool calls that succeeded: tickets__search.",
        final_report_produced=False,
        attempt=5,
        error=AWAY,
    )
    scene.call(scene.step(failed, 1, at=0, took=12), 0, "tickets: search", took=7)
    _tell(scene, failed)
    short = scene.ended(1, ago=800, took=60, status="INCOMPLETE", stop_reason="max_cost")
    apart = scene.ended(
        *(2,),
        ago=700,
        took=20,
        status="INCOMPLETE",
        stop_reason="agent_incomplete",
        authentication_needed=["crm"],
    )
    stopping = scene.task(
        3,
        ago=40,
        status="RUNNING",
        worker=scene.worker,
        started_at=scene.now - datetime.timedelta(seconds=30),
        cancel_requested_at=scene.now,
        sequence=5,
    )
    EventFactory(task=failed, sequence=1, kind="created", at=scene.now)
    return {"failed": failed, "limit": short, "connection": apart, "stopping": stopping}


def _tell(scene: Scene, task: AgentTask) -> None:
    endpoint = WebhookEndpoint.objects.create(
        project=scene.project, url="https://shop.example.com/hooks/agent?key=hidden"
    )
    for state, status, said in (
        ("failed", 503, "The address answered 503."),
        ("waiting", None, ""),
    ):
        WebhookDelivery.objects.create(
            task=task,
            endpoint=endpoint,
            url=endpoint.url,
            event="agent_task.failed",
            data={},
            state=state,
            attempts=10,
            last_status=status,
            last_error=said,
            next_attempt_at=scene.now,
            created_at=scene.now,
        )
