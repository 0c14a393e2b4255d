"""A task's page and the list of tasks, as support staff use them."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.template import Template, engines
from django.test import Client
from django.test.utils import CaptureQueriesContext

from caylex_project.accounts.models import EndUser, Project, StaffScope
from caylex_project.web.warm_up import warm_up
from tasks_app.admin.tasks.markdown import rendered
from tasks_app.models import AgentTask, Event, Step, TaskMetadata
from tests.admin.test_bulk_actions import COMPLETED, FAILED, LIST, change_page, staff
from tests.api.test_poll import add_call, add_step, ended, make_task, running
from tests.support.accounts import Account

SECRET = "only-for-who-may-see-payloads"
MAX_QUERIES = 20


@pytest.fixture
def viewer(db: None) -> Client:
    return staff("vera", "view_agenttask")


@pytest.fixture
def reader(db: None) -> Client:
    return staff("rita", "view_agenttask", "view_payload")


def shown(client: Client, path: str, **query: str) -> str:
    answer = client.get(path, query, secure=True)
    assert answer.status_code == 200, path
    return answer.content.decode()


def found(client: Client, **query: str) -> set[uuid.UUID]:
    answer = client.get(LIST, query, secure=True)
    assert answer.status_code == 200, query
    return {each.pk for each in answer.context["cl"].result_list}


def secretive(account: Account) -> tuple[AgentTask, Step]:
    """Return an ended task with the secret in its prompt and report, and its step with a call."""
    task = ended(account, prompt=SECRET, **{**COMPLETED, "report": f"# Done\n{SECRET}"})
    step = add_step(task, index=1)
    add_call(step, index=0, tool="search", state="succeeded")
    return task, step


def test_limited_staff_find_nothing_of_another_project(
    reader: Client, acme: Account, rival: Account
) -> None:
    mine, (other, step) = make_task(acme), secretive(rival)
    StaffScope.objects.create(user=User.objects.get(username="rita")).projects.add(acme.project)

    assert found(reader) == {mine.pk}
    assert found(reader, q=str(other.pk)) == set()
    for path in (
        change_page(other),
        f"{LIST}{other.pk}/live/",
        f"{LIST}{other.pk}/download/",
        f"{LIST}payload/response/{step.pk}/",
    ):
        assert reader.get(path, secure=True).status_code == 404, path


def test_tasks_are_found_by_id_prefix_address_and_metadata(viewer: Client, acme: Account) -> None:
    one = make_task(acme, id=uuid.UUID("f55a0be6-dd20-4f37-96c8-b7b8119797ba"))
    two = make_task(acme, id=uuid.UUID("f55b0be6-dd20-4f37-96c8-b7b8119797ba"))
    joe = EndUser.objects.create(project=acme.project, email="joe@example.com")
    joes = make_task(acme, end_user=joe, id=uuid.UUID(int=7), prompt="f55a0be6")
    TaskMetadata.objects.create(
        task=two, tenant=acme.tenant, key="ticket", value="81:x", created_at=two.created_at
    )

    assert found(viewer, q=str(one.pk)) == {one.pk}
    assert found(viewer, q="F55a") == {one.pk}
    assert found(viewer, q="f55") == {one.pk, two.pk}
    assert found(viewer, q="f55a0be6-dd20") == {one.pk}
    assert found(viewer, q=" Joe@Example.com ") == {joes.pk}
    assert found(viewer, q="ticket: 81:x") == {two.pk}
    for nothing in ("ticket:8", "zzz", "joe@", "f" * 33, "'", "a:b:c", "\u0000"):
        assert viewer.get(LIST, {"q": nothing}, secure=True).status_code in (200, 400)
    assert found(viewer, q="zzz") == set()


def test_each_filter_leaves_its_tasks_and_odd_values_are_no_server_error(
    viewer: Client, acme: Account
) -> None:
    waiting, busy, failed = make_task(acme), running(acme), ended(acme, **FAILED)
    add_call(add_step(failed, index=1), index=0, tool="search", state="failed")

    assert found(viewer, status="queued") == {waiting.pk}
    assert found(viewer, status="RUNNING") == {busy.pk}
    assert found(viewer, status="FAILED", stop_reason="error") == {failed.pk}
    assert found(viewer, trouble="stuck") == {waiting.pk, busy.pk}
    assert found(viewer, project=str(acme.project.pk)) == {waiting.pk, busy.pk, failed.pk}
    assert found(viewer, created="1h") == set()
    for name in ("status", "stop_reason", "project", "model", "server", "created", "trouble", "p"):
        for value in ("%00", "%2500", "x", "'", "9" * 400):
            answer = viewer.get(f"{LIST}?{name}={value}", secure=True)
            assert answer.status_code in (200, 302, 400), (name, value)


def test_what_is_paused_is_told_from_what_waits_for_a_worker(viewer: Client, acme: Account) -> None:
    task = make_task(acme)
    Project.objects.update(paused=True)

    page = shown(viewer, LIST)
    assert '<a href="?status=queued"><strong>0</strong> Queued</a>' in page
    assert '<a href="?status=suspended"><strong>1</strong> Paused</a>' in page
    assert '<a href="?status=queued"><strong>–</strong> Oldest queued</a>' in page
    assert found(viewer, status="suspended") == {task.pk}
    assert found(viewer, status="queued") == found(viewer, trouble="stuck") == set()
    Project.objects.update(paused=False)
    assert found(viewer, status="queued") == found(viewer, trouble="stuck") == {task.pk}
    assert found(viewer, status="suspended") == set()


def test_counters_lead_to_their_filters(viewer: Client, acme: Account) -> None:
    make_task(acme)

    page = shown(viewer, LIST)

    assert '<a href="?status=queued"><strong>1</strong> Queued</a>' in page
    assert '<a href="?status=RUNNING"><strong>0</strong> Running</a>' in page


def test_list_and_page_stay_under_twenty_queries(reader: Client, acme: Account) -> None:
    task = running(acme)
    for index in range(1, 61):
        add_call(add_step(task, index=index), index=0, tool="search", state="succeeded")
    for _ in range(60):
        make_task(acme)

    for path in (LIST, change_page(task), f"{LIST}{task.pk}/live/"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            shown(reader, path)
        assert len(queries) < MAX_QUERIES, path
        assert len([each for each in queries if "accounts_staffscope" in each["sql"]]) == 1
        assert not [each for each in queries if "ILIKE" in each["sql"]]


def test_a_request_needs_no_template_that_was_not_read_before_the_first(acme: Account) -> None:
    task, operator = ended(acme, **FAILED), staff("olga", "view_agenttask", "change_agenttask")
    [cached] = engines["django"].engine.template_loaders  # type: ignore[attr-defined]
    cached.reset()
    warm_up()
    known = compiled(cached)

    for path in ("", f"{task.pk}/change/", f"{task.pk}/live/", f"retry/?task={task.pk}"):
        shown(operator, f"{LIST}{path}")

    assert compiled(cached) == known > set()


def compiled(loader: Any) -> set[Any]:
    made = [each for each in loader.get_template_cache.values() if isinstance(each, Template)]
    return {each.name for each in made}


def test_the_list_goes_on_to_older_tasks_without_a_count(viewer: Client, acme: Account) -> None:
    tasks = {make_task(acme).pk for _ in range(51)}

    first, second = found(viewer), found(viewer, p="2")

    assert (len(first), len(second)) == (50, 1)
    assert first | second == tasks
    assert 'href="?p=2">Older</a>' in shown(viewer, LIST)
    assert 'href="?p=1">Newer</a>' in shown(viewer, LIST, p="2")


def test_the_timeline_is_paged_and_shows_errors_alone(viewer: Client, acme: Account) -> None:
    task = running(acme)
    for index in range(1, 53):
        add_step(task, index=index)
    bad = add_call(task.steps.get(index=2), index=0, tool="wipe", state="unknown_outcome")

    last, first = shown(viewer, change_page(task)), shown(viewer, change_page(task), page="1")
    errors = shown(viewer, change_page(task), errors="1")

    assert (">Step 52<" in last, ">Step 2<" in last) == (True, False)
    assert (">Step 52<" in first, ">Step 2<" in first) == (False, True)
    assert (f'id="call-{bad.pk}"' in errors, ">Step 3<" in errors) == (True, False)
    assert "unknown outcome" in errors
    for page in ("0", "-1", "x", "9" * 5000, "٣"):
        assert viewer.get(change_page(task), {"page": page}, secure=True).status_code == 200


def test_each_step_says_at_which_attempt_it_was_made(viewer: Client, acme: Account) -> None:
    task = ended(acme, **FAILED, run_number=2)
    for sequence, kind in enumerate(
        ["started", "waiting", "taken_over", "", "waiting", "failed", "retried", ""], start=1
    ):
        if kind:
            Event.objects.create(task=task, sequence=sequence, kind=kind, at=task.created_at)
    for run, sequence in ((1, 4), (2, 8)):
        step = add_step(task, index=1, run_number=run)
        Step.objects.filter(pk=step.pk).update(sequence=sequence)

    page = shown(viewer, change_page(task))

    assert re.findall(r'attempt">(\d+)<', page) == ["3", "1"]
    assert '<a href="?#step-2-1">step 1</a>' in page


def test_tools_that_were_offered_are_told_from_those_that_were_called(
    viewer: Client, acme: Account
) -> None:
    task = running(acme)
    step = add_step(task, index=1)
    for index, state in enumerate(("succeeded", "failed")):
        add_call(step, index=index, tool="search", state=state)
    called = step.tool_calls.all()[0].name
    for offered, told in (
        (["crm__find"], f"<li>{called}: called 2 times, not offered</li><li>crm__find: not called"),
        ([called], f"<li>{called}: called 2 times</li>"),
        (None, f"<li>{called}: called 2 times</li>"),
    ):
        Step.objects.update(request={"tools": offered} if offered else {})
        assert told in shown(viewer, change_page(task))


def test_the_fragment_leaves_out_what_has_not_changed(viewer: Client, acme: Account) -> None:
    task = running(acme)
    live = f"{LIST}{task.pk}/live/"

    assert 'id="task-journal"' in shown(viewer, live)
    same = shown(viewer, live, seen="0-RUNNING")
    assert 'id="now"' in same
    assert 'id="task-journal"' not in same
    assert "data-ended" not in same
    assert "data-ended" in shown(viewer, f"{LIST}{ended(acme, **FAILED).pk}/live/")


def test_no_page_has_script_or_style_of_its_own(reader: Client, acme: Account) -> None:
    task, _ = secretive(acme)

    for path in (LIST, change_page(task)):
        page = shown(reader, path)
        assert "<script>" not in page
        assert "<style" not in page
        assert " style=" not in page


@pytest.mark.parametrize(
    ("produced", "title", "other"),
    [(True, ">Report<", "account<"), (False, ">The service’s account<", ">Report<")],
)
def test_the_account_of_a_failed_task_is_shown_and_named_as_the_service_s_own(
    reader: Client, acme: Account, produced: bool, title: str, other: str
) -> None:
    how = {"status": "INCOMPLETE", "stop_reason": "agent_incomplete"} if produced else FAILED
    task = ended(
        acme,
        **how,
        steps_completed=1,
        report="Tool calls that succeeded: a__b.",
        final_report_produced=produced,
    )
    assert (
        reader.post(f"{LIST}{task.pk}/payloads/", {"reason": "x"}, secure=True).status_code == 302
    )
    page = shown(reader, change_page(task))
    assert title in page
    assert other not in page
    assert "Tool calls that succeeded: a__b." in page


@pytest.mark.parametrize(
    ("markdown", "forbidden"),
    [
        ("<script>alert(1)</script>", "<script"),
        ("![x](https://evil.example/a.png)", "<img"),
        ("[x](javascript:alert(1))", "<a"),
        ("[x](data:text/html,hi)", "<a"),
        ('<a href="x" onclick="y">z</a>', "<a"),
    ],
)
def test_a_report_holds_no_script_image_or_odd_link(markdown: str, forbidden: str) -> None:
    assert forbidden not in rendered(markdown)


def test_a_report_is_laid_out() -> None:
    html = rendered("# One\n\n- *two*\n\n[three](https://example.com)")

    assert "<h3>One</h3>" in html
    assert "<li><em>two</em></li>" in html
    assert '<a href="https://example.com" rel="noopener noreferrer nofollow">three</a>' in html


@pytest.mark.parametrize(
    "address",
    [
        *("//evil.example", "//evil.example/x", "/admin/logout/", "admin/", "../change/", "?q=a"),
        *("#errors", "http:/admin/", "https:admin", "https:///admin/", "HTTPS:/admin/", "https:"),
        *("https://testserver/admin/", "https://TESTSERVER:8443/admin/", "http://testserver./"),
        *(
            "https://jane@testserver/",
            "https://testserver\\@evil.example/",
            "https://\\evil.example",
        ),
        *("https://%74estserver/", "https://[::1", "/\\evil.example", "ftp://evil.example/"),
        *("mailto:", "mailto://testserver/"),
    ],
)
def test_a_link_of_a_report_that_names_no_other_host_loses_its_address(address: str) -> None:
    for written in (
        f"[three]({address})",
        f"[three](<{address}>)",
        f"[three][1]\n\n[1]: {address}",
    ):
        html = rendered(written)

        assert "three" in html
        assert "href" not in html


@pytest.mark.parametrize(
    "address",
    [
        *("https://example.com", "http://example.com/admin/?q=a#b", "https://testserver.example/"),
        *("mailto:jane@example.com", "HTTPS://EXAMPLE.COM/", "https://192.0.2.1:8443/"),
    ],
)
def test_a_link_of_a_report_that_names_another_host_is_kept(address: str) -> None:
    assert f'href="{address}"' in rendered(f"[three]({address})")


def test_odd_reports_cost_little() -> None:
    for text in ("[" * 200_000, "> " * 100_000, "*a_" * 70_000, "|a" * 100_000, "`" * 200_000):
        assert isinstance(rendered(text), str)


def test_posting_to_a_page_changes_nothing(reader: Client, acme: Account) -> None:
    task: Any = make_task(acme)

    assert reader.post(change_page(task), {"status": "FAILED"}, secure=True).status_code == 403
    assert AgentTask.objects.get().status == "PENDING"
