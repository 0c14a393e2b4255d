"""Every address of the admin, found by itself: what a GET changes, and what each role may."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import ForeignKey
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from caylex_project.accounts.audit import record
from caylex_project.accounts.models import AuditEntry, StaffScope
from tasks_app.models import (
    AgentTask,
    BulkOperation,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookSecret,
)
from tasks_app.webhooks.secrets import make_secret
from tests.accounts.test_admin import rows  # noqa: F401
from tests.support.factories import (
    AgentTaskFactory,
    EventFactory,
    StepFactory,
    ToolCallFactory,
    WorkerFactory,
)

pytestmark = pytest.mark.django_db
ROLES = ("support viewer", "support operator", "project admin", "superuser")
NOT_OURS = {"sessions", "axes", "contenttypes", "django_q"}  # a visit's own rows
LINK = re.compile(r'<a\s[^>]*href="((?:/admin/[^"]*)?\?[^"]*)"')
INLINE = re.compile(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One row of each model of the admin, by its label."""

    rows: dict[str, Any]

    @property
    def task(self) -> AgentTask:
        """The task, which has failed."""
        task: AgentTask = self.rows["tasks_app.agenttask"]
        return task


@pytest.fixture
def world(rows: dict[str, Any]) -> World:  # noqa: F811
    """A row of every model that has a page."""
    navigator, person = rows["accounts/navigator"], rows["accounts/enduser"]
    project, now = navigator.project, timezone.now()
    task = AgentTaskFactory(
        tenant=project.tenant,
        project=project,
        navigator=navigator,
        end_user=person,
        status="FAILED",
        stop_reason="error",
        error="No credit.",
        completed_at=now,
    )
    call = ToolCallFactory(step=StepFactory(task=task), state="failed", result="{}")
    endpoint = WebhookEndpoint.objects.create(project=project, url="https://example.com/?key=x")
    delivery = WebhookDelivery.objects.create(
        task=task,
        endpoint=endpoint,
        url=endpoint.url,
        event="agent_task.failed",
        data={},
        state="failed",
        next_attempt_at=now,
        created_at=now,
    )
    boss = User.objects.create_superuser("superuser")
    record(actor=boss, action="cancel", on=task, project_id=project.pk, now=now)
    make_secret(project=project)
    scope = StaffScope.objects.create(user=User.objects.create_user("limited", is_staff=True))
    made = [
        *(task, call.step, call, EventFactory(task=task, sequence=9), endpoint, delivery, boss),
        *(WorkerFactory(), scope, AuditEntry.objects.get(), Group.objects.all()[0]),
        BulkOperation.objects.create(actor="superuser", action="cancel", subject_ids=["x"]),
        WebhookSecret.objects.get(),
    ]
    return World(rows={each._meta.label_lower: each for each in (*rows.values(), *made)})


def patterns(resolver: URLResolver) -> Iterator[URLPattern]:
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            yield from patterns(each)
        else:
            yield each


def addresses(world: World) -> dict[str, str]:
    """Return the address of every page, by its name; `object_id` and the like filled in."""
    labels = [each._meta.label_lower for each in admin.site._registry]
    assert sorted(set(labels) - set(world.rows)) == [], "a row of each model is needed"
    found = {}
    (site,) = (each for each in get_resolver().url_patterns if str(each.pattern) == "admin/")
    assert isinstance(site, URLResolver)
    for each in patterns(site):
        if each.name is None:
            continue
        row = next(
            (row for label, row in world.rows.items() if each.name.startswith(_start(label))),
            world.task,
        )
        known = {"app_label": "tasks_app", "part": "prompt"}
        names = [*each.pattern.converters, *_groups(each)]
        wanted = {name: known.get(name, row.pk) for name in names}
        named = bool(each.pattern.converters)
        found[each.name] = reverse(
            f"admin:{each.name}",
            args=None if named else list(wanted.values()),
            kwargs=wanted if named else None,
        )
    for action in ("cancel", "retry", "rerun"):
        found[action] = f"{found[f'tasks_app_agenttask_{action}']}?task={world.task.pk}"
    message = world.rows["tasks_app.webhookdelivery"].pk
    found["resend"] = f"{found['tasks_app_webhookdelivery_resend']}?message={message}"
    return {**found, "second_factor": reverse("second_factor"), "nothing": "/admin/nothing/"}


def _start(label: str) -> str:
    return label.replace(".", "_") + "_"


def _groups(pattern: URLPattern) -> list[str]:
    regex: Any = getattr(pattern.pattern, "regex", None)
    return [] if pattern.pattern.converters else list(regex.groupindex)


def everything() -> dict[str, list[Any]]:
    """Return every row of the database but for a visit's own."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
        if model._meta.app_label not in NOT_OURS
    }


def signed_in(role: str, **given: Any) -> Client:
    client = Client(**given)
    user = User.objects.filter(username=role).first()
    if user is None:
        user = User.objects.create_user(role, is_staff=True)
        user.groups.add(Group.objects.get(name=role))
    client.force_login(user)
    return client


@pytest.mark.parametrize("role", ROLES)
def test_a_get_of_any_address_changes_nothing_breaks_nothing_and_has_no_inline_code(
    world: World, role: str
) -> None:
    client, pages = signed_in(role), addresses(world)
    lists = [each for name, each in pages.items() if name.endswith("_changelist")]
    odd = [f"{each}?q=a&p=9&o=-1.x&e=1" for each in lists] if role == "superuser" else []
    before = everything()
    assert len(pages) > 100

    for path in (*pages.values(), *odd):
        answer = client.get(path, secure=True)
        assert answer.status_code < 500, path
        assert "unsafe" not in answer["Content-Security-Policy"], path
        assert "script-src 'self'" in answer["Content-Security-Policy"], path
        if answer["Content-Type"].startswith("text/html"):
            assert INLINE.search(answer.content.decode()) is None, path

    assert everything() == before


@pytest.mark.timeout(300)
def test_every_link_of_the_pages_holds_parameters_that_its_page_takes(world: World) -> None:
    client, found = signed_in("superuser"), {}

    for path in addresses(world).values():
        answer = client.get(path, secure=True)
        if answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
            for link in LINK.findall(answer.content.decode()):
                found[urljoin(path, html.unescape(link))] = path

    assert len(found) > 50
    for link, path in found.items():
        assert client.get(link, secure=True).status_code in (200, 302), (link, path)


def test_a_post_without_its_csrf_token_is_403_at_any_address_and_changes_nothing(
    world: World,
) -> None:
    client = signed_in("superuser", enforce_csrf_checks=True)
    pages = addresses(world)
    before = everything()

    refused = {
        name: client.post(path, {"post": "yes", "reason": "x"}, secure=True).status_code
        for name, path in pages.items()
    }

    assert {name: status for name, status in refused.items() if status != 403} == {}
    assert everything() == before


#                                          viewer operator admin super
MATRIX: dict[tuple[str, str], tuple[int, int, int, int]] = {
    ("GET", "tasks_app_agenttask_changelist"): (200, 200, 200, 200),
    ("GET", "tasks_app_agenttask_change"): (200, 200, 200, 200),
    ("GET", "tasks_app_agenttask_live"): (200, 200, 200, 200),
    ("GET", "tasks_app_agenttask_download"): (200, 200, 200, 200),
    ("GET", "tasks_app_agenttask_payload"): (403, 302, 403, 302),
    ("POST", "tasks_app_agenttask_open"): (403, 302, 403, 302),
    ("GET", "tasks_app_step_change"): (403, 200, 403, 200),
    ("GET", "tasks_app_toolcall_change"): (403, 200, 403, 200),
    ("GET", "tasks_app_bulkoperation_change"): (403, 200, 403, 200),
    ("GET", "tasks_app_worker_change"): (200, 200, 200, 200),
    ("GET", "accounts_auditentry_changelist"): (200, 200, 200, 200),
    ("POST", "rerun"): (403, 302, 403, 302),
    ("POST", "resend"): (403, 302, 403, 302),
    ("POST", "retry"): (403, 302, 403, 302),
    ("POST", "cancel"): (403, 302, 403, 302),
    ("POST", "tasks_app_agenttask_change"): (403, 403, 403, 403),
    ("POST", "tasks_app_agenttask_delete"): (403, 403, 403, 403),
    ("POST", "accounts_auditentry_delete"): (403, 403, 403, 403),
    ("GET", "accounts_navigatorkey_add"): (403, 403, 200, 200),
    ("GET", "integrations_credential_add"): (403, 403, 200, 200),
    ("GET", "accounts_staffscope_changelist"): (403, 403, 403, 200),
    ("GET", "auth_user_changelist"): (403, 403, 403, 200),
}


def test_each_role_may_do_what_the_table_says_and_where_it_may_not_nothing_changes(
    world: World,
) -> None:
    pages = addresses(world)
    found: dict[tuple[str, str], list[int]] = {each: [] for each in MATRIX}

    message = str(world.rows["tasks_app.webhookdelivery"].pk)
    said = {"task": str(world.task.pk), "message": message, "reason": "Jane asked"}
    for role in ROLES:
        client = signed_in(role)
        for (method, name), statuses in MATRIX.items():
            refused = statuses[ROLES.index(role)] == 403
            before = everything() if refused else {}
            answer = (
                client.get(pages[name], secure=True)
                if method == "GET"
                else client.post(pages[name], said, secure=True)
            )
            found[method, name].append(answer.status_code)
            assert not refused or everything() == before, (role, name)

    assert {each: tuple(statuses) for each, statuses in found.items()} == MATRIX
    assert AgentTask.objects.filter(rerun_of=world.task).count() == 2
    done = {"rerun", "resend", "retry", "cancel", "look at payloads"}
    by_operator = AuditEntry.objects.filter(actor="support operator")
    assert set(by_operator.values_list("action", flat=True)) == done


def test_superusers_limited_to_no_project_reach_no_row_of_one(world: World) -> None:
    User.objects.filter(username="limited").update(is_superuser=True)
    client, pages = signed_in("limited"), addresses(world)
    of_none = ("auth.", "accounts.staffscope")
    rows_of = {label: row for label, row in world.rows.items() if not label.startswith(of_none)}

    for label, row in rows_of.items():
        for name, path in pages.items():
            if name.startswith(_start(label)) and str(row.pk) in path:
                answer = client.get(path, secure=True)
                assert answer.status_code in (403, 404), path


def test_nobody_is_offered_the_rows_of_a_foreign_key_that_no_page_suggests(world: World) -> None:
    browser, asked = signed_in("superuser"), 0

    for model in admin.site._registry:
        for field in model._meta.get_fields():
            if not isinstance(field, ForeignKey) or (
                field.remote_field.model not in admin.site._registry
            ):
                continue
            of = f"app_label={model._meta.app_label}&model_name={model._meta.model_name}"
            answer = browser.get(f"/admin/autocomplete/?{of}&field_name={field.name}", secure=True)
            assert answer.status_code in (403, 404), of
            asked += 1
    assert asked > 20
