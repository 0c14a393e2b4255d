"""Cancel, retry, rerun and resend in the admin: asked first, done by POST, told, written down."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from caylex_project.accounts.models import AuditEntry
from tasks_app.models import AgentTask
from tests.api.test_poll import ended, make_task, running
from tests.support.accounts import Account

LIST = reverse("admin:tasks_app_agenttask_changelist")
FAILED = {"status": "FAILED", "stop_reason": "error", "error": "No credit."}
WHY = "Jane asked for it."
COMPLETED = {"status": "COMPLETED", "stop_reason": "final_report", "report": "Done."}


def staff(name: str, *codenames: str) -> Client:
    """Return the browser of a member of staff with these permissions alone."""
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(db: None) -> Client:
    """Staff who may look at tasks, cancel and retry them."""
    return staff("olga", "view_agenttask", "change_agenttask", "view_auditentry")


@pytest.fixture
def viewer(db: None) -> Client:
    """Staff who may look at tasks."""
    return staff("vera", "view_agenttask")


def address(action: str) -> str:
    return reverse(f"admin:tasks_app_agenttask_{action}")


def change_page(task: AgentTask) -> str:
    return reverse("admin:tasks_app_agenttask_change", args=[task.pk])


def choose(client: Client, action: str, *tasks: AgentTask, **more: Any) -> Any:
    data = {"action": action, "_selected_action": [str(each.pk) for each in tasks], **more}
    return client.post(LIST, data, secure=True)


def do(client: Client, action: str, *tasks: AgentTask, **more: Any) -> Any:
    data = {"task": [str(each.pk) for each in tasks], "reason": WHY, **more}
    return client.post(address(action), data, secure=True)


def told(answer: Any) -> list[tuple[str, str]]:
    return [(each.level_tag, each.message) for each in get_messages(answer.wsgi_request)]


def rows() -> list[dict[str, Any]]:
    return [dict(each) for each in AgentTask.objects.order_by("pk").values()]


def trail() -> list[tuple[str, str, str, str]]:
    entries = AuditEntry.objects.order_by("id")
    return list(entries.values_list("actor", "action", "object_id", "reason"))


def test_a_task_is_cancelled_from_its_page_with_a_reason(operator: Client, acme: Account) -> None:
    task = make_task(acme)
    page = operator.get(change_page(task), secure=True)
    link = f"{address('cancel')}?task={task.pk}"
    assert f'href="{link}"' in page.content.decode()
    assert address("retry") not in page.content.decode()

    asked = operator.get(link, secure=True)
    assert asked.status_code == 200
    assert "Cancel 1 task?" in asked.content.decode()
    assert rows()[0]["status"] == "PENDING"
    answer = do(operator, "cancel", task, reason="Jane asked for it")

    assert (answer.status_code, answer["Location"]) == (302, change_page(task))
    assert told(answer) == [("success", "Cancelled: 1.")]
    task.refresh_from_db()
    assert (task.status, task.stop_reason) == ("INCOMPLETE", "cancelled")
    assert task.report is not None
    assert "the task was cancelled: Jane asked for it." in task.report
    assert trail() == [("olga", "cancel", str(task.pk), "Jane asked for it")]
    assert (
        "<td>Jane asked for it</td>"
        in operator.get(change_page(task), secure=True).content.decode()
    )
    trail_of = operator.get(
        reverse("admin:tasks_app_agenttask_history", args=[task.pk]), secure=True
    )
    assert trail_of["Location"] == f"/admin/accounts/auditentry/?q={task.pk}"


def test_a_running_task_is_asked_to_stop_and_keeps_its_worker(
    operator: Client, acme: Account
) -> None:
    task = running(acme)

    do(operator, "cancel", task)

    worker = task.worker_id
    task.refresh_from_db()
    assert (task.status, task.worker_id, task.cancel_reason) == ("RUNNING", worker, WHY)
    assert task.cancel_requested_at is not None
    assert trail() == [("olga", "cancel", str(task.pk), WHY)]


def test_a_task_is_retried_from_its_page(operator: Client, acme: Account) -> None:
    task = ended(acme, **FAILED)
    link = f"{address('retry')}?task={task.pk}"
    page = operator.get(change_page(task), secure=True).content.decode()
    assert f'href="{link}"' in page
    assert address("cancel") not in page

    assert "Retry 1 task?" in operator.get(link, secure=True).content.decode()
    answer = do(operator, "retry", task)

    assert told(answer) == [("success", "Retried: 1.")]
    task.refresh_from_db()
    assert (task.status, task.run_number, task.error) == ("PENDING", 2, None)
    assert trail() == [("olga", "retry", str(task.pk), WHY)]


def test_many_are_cancelled_after_one_question_and_each_outcome_is_told(
    operator: Client, acme: Account
) -> None:
    waiting, busy, over = make_task(acme), running(acme), ended(acme, **COMPLETED)
    before = rows()

    asked = choose(operator, "cancel_tasks", waiting, busy, over)
    page = asked.content.decode()
    assert asked.status_code == 200
    assert "Cancel 3 tasks?" in page
    assert f'action="{address("cancel")}"' in page
    for task in (waiting, busy, over):
        assert f'name="task" value="{task.pk}"' in page
    assert rows() == before
    answer = do(operator, "cancel", waiting, busy, over, reason="Cleaning up")

    assert (answer.status_code, answer["Location"]) == (302, LIST)
    assert told(answer) == [
        ("success", "Cancelled: 2."),
        ("warning", "Not cancelled: 1. What has ended cannot be cancelled."),
    ]
    over.refresh_from_db()
    assert (over.status, over.report, over.cancel_requested_at) == ("COMPLETED", "Done.", None)
    assert sorted(trail()) == sorted(
        ("olga", "cancel", str(task.pk), "Cleaning up") for task in (waiting, busy)
    )


def test_many_are_retried_and_those_that_cannot_be_are_told_by_reason(
    operator: Client, acme: Account
) -> None:
    failed, partial = ended(acme, **FAILED), ended(acme, **{**FAILED, "error": "Other."})
    waiting, also_waiting, over = make_task(acme), make_task(acme), ended(acme, **COMPLETED)
    tasks = (failed, partial, waiting, also_waiting, over)

    assert "Retry 5 tasks?" in choose(operator, "retry_tasks", *tasks).content.decode()
    assert trail() == []
    answer = do(operator, "retry", *tasks)

    sentence = "Only a FAILED or INCOMPLETE task can be retried, not"
    assert set(told(answer)) == {
        ("success", "Retried: 2."),
        ("warning", f"Not retried: 2. {sentence} PENDING."),
        ("warning", f"Not retried: 1. {sentence} COMPLETED."),
    }
    assert set(AgentTask.objects.filter(run_number=2)) == {failed, partial}
    assert len(trail()) == 2


def test_doing_it_twice_does_it_once(operator: Client, acme: Account) -> None:
    task = make_task(acme)
    do(operator, "cancel", task, reason="First")
    before = rows()

    again = do(operator, "cancel", task, reason="Second")

    assert ("warning", "Not cancelled: 1. What has ended cannot be cancelled.") in told(again)
    assert rows() == before
    assert len(trail()) == 1


@pytest.mark.parametrize("action", ["cancel", "retry", "rerun"])
def test_get_changes_nothing(operator: Client, acme: Account, action: str) -> None:
    task, failed = make_task(acme), ended(acme, **FAILED)
    before = rows()

    for each in (task, failed):
        answer = operator.get(address(action), {"task": str(each.pk), "reason": "x"}, secure=True)
        assert answer.status_code == 200
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert "<script>" not in answer.content.decode()
        assert " style=" not in answer.content.decode()

    assert rows() == before
    assert trail() == []


@pytest.mark.parametrize("action", ["cancel", "retry", "rerun"])
def test_who_may_only_look_is_refused_and_is_offered_nothing(
    viewer: Client, acme: Account, action: str
) -> None:
    task, failed = make_task(acme), ended(acme, **FAILED)
    before = rows()

    for each in (task, failed):
        page = viewer.get(change_page(each), secure=True)
        assert page.status_code == 200
        assert address(action) not in page.content.decode()
        assert do(viewer, action, each).status_code == 403
        assert viewer.get(address(action), {"task": str(each.pk)}, secure=True).status_code == 403
    shown = viewer.get(LIST, secure=True).content.decode()
    assert f"{action}_tasks" not in shown
    choose(viewer, f"{action}_tasks", task, failed)

    assert rows() == before
    assert trail() == []


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_who_is_not_signed_in_is_sent_to_the_door(
    client: Client, acme: Account, action: str
) -> None:
    task = make_task(acme)

    answer = do(client, action, task)

    assert answer.status_code == 302
    assert "/admin/login/" in answer["Location"]
    assert rows()[0]["status"] == "PENDING"


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_a_post_without_the_csrf_token_does_nothing(acme: Account, action: str) -> None:
    task, failed = make_task(acme), ended(acme, **FAILED)
    before = rows()
    User.objects.create_superuser("root", password="x")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="root"))

    assert do(strict, action, task, failed).status_code == 403
    assert rows() == before

    page = strict.get(address(action), {"task": str(task.pk)}, secure=True)
    token = page.context["csrf_token"]
    answer = strict.post(
        address(action),
        {"task": str(task.pk), "reason": WHY, "csrfmiddlewaretoken": str(token)},
        secure=True,
        headers={"Referer": f"https://testserver{address(action)}"},
    )
    assert answer.status_code == 302


@pytest.mark.parametrize(
    "reason", ["", " ", "x" * 501, "line\nbreak", "bell\x07", "nul\x00", "a\u2028b"]
)
def test_no_reason_or_one_that_the_api_would_refuse_is_asked_for_again(
    operator: Client, acme: Account, reason: str
) -> None:
    task = make_task(acme)
    before = rows()

    answer = do(operator, "cancel", task, reason=reason)

    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert f'value="{task.pk}"' in answer.content.decode()
    assert rows() == before
    assert trail() == []


def test_markup_in_a_reason_stays_text(operator: Client, acme: Account) -> None:
    task = make_task(acme)
    do(operator, "cancel", task, reason="<script>alert(1)</script>")

    for path in (change_page(task), f"/admin/accounts/auditentry/?q={task.pk}"):
        assert "<script>alert" not in operator.get(path, secure=True).content.decode()


@pytest.mark.parametrize("ids", [[], ["x"], [str(uuid.uuid4())], ["1" * 5_000]])
@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_what_names_no_task_is_404(
    operator: Client, acme: Account, action: str, ids: list[str]
) -> None:
    make_task(acme)
    before = rows()

    assert operator.get(address(action), {"task": ids}, secure=True).status_code == 404
    assert operator.post(address(action), {"task": ids}, secure=True).status_code == 404
    chosen = {"action": f"{action}_tasks", "_selected_action": ids or ["\x00"]}
    assert operator.post(LIST, chosen, secure=True).status_code == 404
    assert rows() == before


def test_more_than_the_most_of_one_request_are_refused_as_a_whole(
    operator: Client, acme: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.admin.bulk_actions.MAX_ROWS", 2)
    tasks = [make_task(acme) for _ in range(3)]
    before = rows()

    answer = do(operator, "cancel", *tasks)

    assert ("warning", "Choose at most 2 tasks at a time.") in told(answer)
    assert rows() == before
    assert choose(operator, "cancel_tasks", *tasks[:2]).status_code == 200
