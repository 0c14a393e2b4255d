"""Workers in the admin: last heard of when, and holding what."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.accounts.test_admin import text_of
from tests.accounts.test_staff_scope import limited_to
from tests.api.test_poll import running
from tests.support.accounts import Account
from tests.support.factories import WorkerFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/tasks_app/worker/"


def test_a_worker_s_page_names_its_tasks_and_when_it_was_last_heard_of(
    admin_client: Client, acme: Account
) -> None:
    task = running(acme)
    worker: Any = task.worker
    now = timezone.now()
    worker.lease_until = now + datetime.timedelta(seconds=18)
    worker.save()
    WorkerFactory(host="silent", lease_until=now - datetime.timedelta(seconds=90))
    WorkerFactory(host="drains", state="draining", lease_until=now)
    WorkerFactory(host="fell", state="dead")

    listed = text_of(admin_client.get(LIST, secure=True))
    page = text_of(admin_client.get(f"{LIST}{worker.pk}/change/", secure=True))

    assert re.search(r"1[2-9] s ago<", page)
    assert f"/admin/tasks_app/agenttask/{task.pk}/change/" in page
    assert 'class="default"' not in page
    assert re.search(r"2 min( \d s)? ago; its lease has ended", listed)
    assert '<span class="state INCOMPLETE">draining</span>' in listed
    assert '<span class="state FAILED">dead</span>' in listed


def test_workers_serve_all_projects_and_are_not_for_staff_of_some(acme: Account) -> None:
    task = running(acme)
    browser = limited_to(acme.project)

    assert f"/{task.worker_id}/change/" not in text_of(browser.get(LIST))
    assert browser.get(f"{LIST}{task.worker_id}/change/").status_code == 404
