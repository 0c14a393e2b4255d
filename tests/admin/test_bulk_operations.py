"""Many tasks at once: asked for on the list, done by the workers, audited one by one."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from caylex_project.accounts import audit
from caylex_project.accounts.models import AuditEntry, StaffScope
from tasks_app.models import AgentTask, BulkOperation, WebhookDelivery, WebhookEndpoint
from tasks_app.operations import bulk, staff
from tasks_app.worker.database import Database
from tasks_app.worker.maintenance import batches as duty
from tests.admin.test_bulk_actions import (
    COMPLETED,
    FAILED,
    LIST,
    WHY,
    address,
    choose,
    operator,  # noqa: F401
    told,
    trail,
)
from tests.admin.test_bulk_actions import staff as staff_with
from tests.admin.test_rerun_and_resend import delivered
from tests.api.test_poll import ended, make_task
from tests.support.accounts import Account

ACROSS = {"select_across": "1"}


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks_app.admin.bulk_actions.MAX_ROWS", 2)
    monkeypatch.setattr("tasks_app.operations.bulk.BATCH_SIZE", 2)


def ask(
    client: Client, action: str, query: str, *rows: Any, page: str = LIST
) -> tuple[str, dict[str, str]]:
    """Ask about all that match; return where the answer goes, and with what."""
    data = {"action": action, "_selected_action": [str(rows[0].pk)], **ACROSS}
    page = client.post(f"{page}?{query}", data, secure=True).content.decode()
    found = re.search(r'<form method="post" action="([^"]*)"', page)
    until = re.search(r'name="until" value="([^"]*)"', page)
    assert found is not None
    assert until is not None, page
    return found[1].replace("&amp;", "&"), {"until": until[1], "reason": WHY}


def confirm(client: Client, action: str, query: str, *tasks: AgentTask) -> BulkOperation:
    where, answer = ask(client, action, query, *tasks)
    said = client.post(where, answer, secure=True)
    operation = BulkOperation.objects.get()
    assert said["Location"] == page_of(operation)
    return operation


def page_of(operation: BulkOperation) -> str:
    return f"/admin/tasks_app/bulkoperation/{operation.pk}/change/"


def work() -> int:
    """Work until nothing is left; return how many portions that took."""
    portions = 1
    while bulk.process_bulk_batch(now=timezone.now()):
        portions += 1
    return portions


def test_all_that_match_are_cancelled_across_pages_and_each_has_its_entry(
    operator: Client,  # noqa: F811
    acme: Account,
) -> None:
    waiting = [make_task(acme) for _ in range(5)]
    over, other = ended(acme, **COMPLETED), ended(acme, **FAILED)

    where, answer = ask(operator, "cancel_tasks", "status=queued&p=1", *waiting)
    later = make_task(acme, created_at=timezone.now())
    assert where == f"{address('cancel')}?status=queued"
    assert not BulkOperation.objects.exists()
    said = operator.post(where, answer, secure=True)
    operation = BulkOperation.objects.get()
    shown = operator.get(page_of(operation), secure=True).content.decode()
    assert said["Location"] == page_of(operation)
    assert (operation.position, "Waiting: no worker is running." in shown) == (0, True)
    assert trail() == [("olga", "cancel many", str(operation.pk), WHY)]
    assert work() == 3

    assert set(AgentTask.objects.filter(stop_reason="cancelled")) == set(waiting)
    for each, status in ((over, "COMPLETED"), (other, "FAILED"), (later, "PENDING")):
        each.refresh_from_db()
        assert each.status == status
    assert sorted(trail()[1:]) == sorted(("olga", "cancel", str(e.pk), WHY) for e in waiting)
    assert AuditEntry.objects.latest("id").details == {"operation": str(operation.pk)}
    operation.refresh_from_db()
    assert (operation.done, operation.refused, operation.position) == (5, {}, 5)
    live = operator.get(page_of(operation).replace("change", "live"), secure=True)
    assert "data-ended" in live.content.decode()
    assert "All 5 are through." in live.content.decode()


def test_what_is_refused_gone_or_breaks_is_counted_and_the_others_are_done(
    operator: Client,  # noqa: F811
    acme: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, waiting, gone, bad = (ended(acme, **FAILED) for _ in range(4))
    operation = confirm(operator, "retry_tasks", "status=FAILED", good)
    AgentTask.objects.filter(pk=waiting.pk).update(
        status="PENDING", error=None, stop_reason="", completed_at=None
    )
    gone.delete()

    def record(**entry: Any) -> None:
        if entry["on"] == bad:
            raise RuntimeError("no trail")  # what cannot be written down must not stay
        audit.record(**entry)

    monkeypatch.setattr(staff, "record", record)
    work()

    operation.refresh_from_db()
    assert (operation.done, operation.position) == (1, 4)
    assert operation.refused == {
        "Only a FAILED or INCOMPLETE task can be retried, not PENDING.": 1,
        bulk.GONE: 1,
        bulk.BROKE: 1,
    }
    assert AgentTask.objects.get(run_number=2) == good
    shown = operator.get(page_of(operation), secure=True).content.decode()
    assert "<dt>Done</dt><dd>1</dd>" in shown
    assert "can be retried, not PENDING." in shown


def test_who_goes_on_after_a_crash_does_the_rest_and_nothing_twice(
    operator: Client,  # noqa: F811
    acme: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [ended(acme, **FAILED) for _ in range(5)]
    operation = confirm(operator, "retry_tasks", "", *tasks)
    real, calls = staff.perform, []

    def killed_in_the_fourth(**given: Any) -> Any:
        calls.append(given["subject_id"])
        made = real(**given)
        if len(calls) == 4:
            raise OperationalError("the connection is gone")
        return made

    monkeypatch.setattr(staff, "perform", killed_in_the_fourth)
    with pytest.raises(OperationalError):
        work()
    operation.refresh_from_db()
    assert (operation.position, AgentTask.objects.filter(run_number=2).count()) == (3, 3)
    work()

    operation.refresh_from_db()
    assert (operation.done, operation.refused) == (5, {})
    assert calls[3] == calls[4]
    assert AgentTask.objects.filter(run_number=2).count() == 5
    assert AuditEntry.objects.filter(action="retry").count() == 5


def test_what_staff_may_no_more_when_it_is_done_is_not_done(
    operator: Client,  # noqa: F811
    acme: Account,
    rival: Account,
) -> None:
    mine, others = ([make_task(each) for _ in range(2)] for each in (acme, rival))
    operation = confirm(operator, "cancel_tasks", "", *mine)
    olga = User.objects.get(username="olga")
    scope = StaffScope.objects.create(user=olga)
    scope.projects.add(acme.project)
    work()
    operation.refresh_from_db()
    assert (operation.done, operation.refused) == (2, {bulk.GONE: 2})
    assert set(AgentTask.objects.filter(status="PENDING")) == set(others)

    BulkOperation.objects.all().delete()
    scope.projects.set([rival.project])
    make_task(rival)
    operation = confirm(operator, "cancel_tasks", "status=queued", others[0])
    olga.user_permissions.remove(Permission.objects.get(codename="change_agenttask"))
    work()

    operation.refresh_from_db()
    assert (operation.done, operation.refused) == (0, {bulk.NOT_ALLOWED: 3})
    assert operation.completed_at is not None


def test_limited_staff_choose_and_see_their_own_alone(
    operator: Client,  # noqa: F811
    acme: Account,
    rival: Account,
) -> None:
    mine = [make_task(acme) for _ in range(3)]
    make_task(rival)
    other = staff_with("otto", "view_agenttask", "change_agenttask")
    for name in ("olga", "otto"):
        user = User.objects.get(username=name)
        StaffScope.objects.create(user=user).projects.add(acme.project)

    operation = confirm(operator, "cancel_tasks", "", *mine)

    assert set(operation.subject_ids) == {str(each.pk) for each in mine}
    assert operator.get(page_of(operation), secure=True).status_code == 200
    for path in (page_of(operation), page_of(operation).replace("change", "live")):
        assert other.get(path, secure=True).status_code == 404
        assert staff_with(path[-9:-1], "view_agenttask").get(path, secure=True).status_code == 403
    assert (
        str(operation.pk)
        not in other.get("/admin/tasks_app/bulkoperation/", secure=True).content.decode()
    )


def test_all_messages_that_match_are_sent_again_each_with_its_entry(
    operator: Client,  # noqa: F811
    acme: Account,
    rival: Account,
) -> None:
    olga = User.objects.get(username="olga")
    olga.user_permissions.add(Permission.objects.get(codename="view_webhookdelivery"))
    StaffScope.objects.create(user=olga).projects.add(acme.project)
    task, page = ended(acme, **FAILED), "/admin/tasks_app/webhookdelivery/"
    off = WebhookEndpoint.objects.create(
        project=acme.project, url="https://a.test/", disabled_at=timezone.now()
    )
    failed = [delivered(task) for _ in range(3)]
    kept = [
        *(delivered(task, endpoint=off), delivered(task, state="delivered")),
        delivered(ended(rival, **FAILED)),
    ]

    where, answer = ask(operator, "resend_messages", "state__exact=failed", failed[0], page=page)
    assert where == f"{page}resend/?state__exact=failed"
    operator.post(where, answer, secure=True)
    operation = BulkOperation.objects.get()
    assert str(operation) == "resend 4 messages"
    assert AuditEntry.objects.get().details == {"messages": 4}
    assert not WebhookDelivery.objects.filter(state="waiting").exists()
    work()

    waiting = WebhookDelivery.objects.filter(state="waiting", attempts=0)
    assert set(waiting) == set(failed)
    for each in kept:
        was = each.state
        each.refresh_from_db()
        assert each.state == was
    operation.refresh_from_db()
    assert (operation.done, operation.refused) == (
        3,
        {"Its endpoint is disabled; enable that first.": 1},
    )
    assert sorted(trail()[1:]) == [("olga", "resend", str(task.pk), WHY)] * 3
    assert AuditEntry.objects.latest("id").details["operation"] == str(operation.pk)
    shown = operator.get(page_of(operation), secure=True).content.decode()
    assert "Resend 4 messages" in shown


def test_odd_answers_begin_nothing(
    operator: Client,  # noqa: F811
    acme: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [make_task(acme) for _ in range(3)]
    where, answer = ask(operator, "cancel_tasks", "", *tasks)

    for until in ("", "x", "2026-01-01", "9" * 5_000):
        said = operator.post(where, {**answer, "until": until}, secure=True)
        assert said.status_code == 404, until
    odd = operator.post(f"{address('cancel')}?status=x", answer, secure=True)
    assert odd.status_code == 400
    assert operator.post(where, {**answer, "reason": " "}, secure=True).status_code == 200
    past = {**answer, "until": "2020-01-01T00:00:00+00:00"}
    said = operator.post(where, past, secure=True)
    assert ("warning", "No task matches any more.") in told(said)
    monkeypatch.setattr("tasks_app.admin.bulk_actions.MAX_IN_BULK", 2)
    said = choose(operator, "cancel_tasks", tasks[0], **ACROSS)
    assert ("warning", "Choose at most 2 tasks at a time.") in told(said)
    missing = f"/admin/tasks_app/bulkoperation/{uuid.uuid4()}/change/"
    assert operator.get(missing, secure=True).status_code == 404
    assert operator.get(missing.replace(missing[-44:-8], "x"), secure=True).status_code == 404

    assert not BulkOperation.objects.exists()
    assert trail() == []


@pytest.mark.django_db(transaction=True)
async def test_a_worker_does_it_beside_its_tasks_until_it_drains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duty, "EVERY", 0.01)
    database, draining = Database(threads=1), asyncio.Event()
    user = await database.run(User.objects.create_superuser, "root")
    operation = await database.run(
        bulk.begin,
        action="cancel",
        subject_ids=[uuid.uuid4() for _ in range(3)],
        actor=user,
        reason=WHY,
        now=timezone.now(),
    )

    working = asyncio.create_task(duty.run_batches(bulk.process_bulk_batch, database.run, draining))
    async with asyncio.timeout(10):
        while operation.completed_at is None:
            await asyncio.sleep(0.02)
            await database.run(operation.refresh_from_db)
        draining.set()
        await working
    database.close()
    database.join()

    assert operation.refused == {bulk.GONE: 3}
