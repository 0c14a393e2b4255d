"""The audit trail: written with what it tells of, and never changed."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from caylex_project.accounts.audit import record
from caylex_project.accounts.models import AuditEntry
from tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry() -> AuditEntry:
    """One entry, about a project."""
    project: Any = ProjectFactory()
    root = User.objects.create_superuser("root")
    record(
        actor=root,
        action="pause",
        on=project,
        project_id=project.pk,
        reason="They asked.",
        now=timezone.now(),
    )
    return AuditEntry.objects.get()


def test_an_entry_says_who_did_what_to_what_and_why(entry: AuditEntry) -> None:
    assert (entry.actor, entry.action, entry.reason) == ("root", "pause", "They asked.")
    assert entry.object_type == "accounts.project"
    assert entry.object_id == str(entry.project_id)


def test_the_database_refuses_to_change_or_delete_an_entry(entry: AuditEntry) -> None:
    for attempt in (
        lambda: AuditEntry.objects.update(reason="Nobody asked."),
        lambda: AuditEntry.objects.all().delete(),
    ):
        with pytest.raises(IntegrityError, match="cannot be changed or deleted"):
            with transaction.atomic():
                attempt()

    assert AuditEntry.objects.get().reason == "They asked."


def test_an_entry_goes_with_the_transaction_that_it_tells_of(entry: AuditEntry) -> None:
    with transaction.atomic():
        record(actor=User.objects.get(), action="pause", on=ProjectFactory(), now=timezone.now())
        transaction.set_rollback(True)

    assert AuditEntry.objects.count() == 1


def test_entries_are_read_in_the_admin_and_nothing_else(entry: AuditEntry) -> None:
    client = Client()
    client.force_login(User.objects.get())
    page = f"/admin/accounts/auditentry/{entry.pk}/"

    assert b"They asked." in client.get("/admin/accounts/auditentry/", secure=True).content
    assert b"They asked." in client.get(f"{page}change/", secure=True).content
    for path in (f"{page}change/", f"{page}delete/", "/admin/accounts/auditentry/add/"):
        assert client.post(path, {"post": "yes"}, secure=True).status_code == 403
    assert AuditEntry.objects.get().reason == "They asked."


@pytest.mark.django_db(transaction=True)
def test_a_flush_between_tests_gets_past_the_trail() -> None:
    record(
        actor=User.objects.create_superuser("root"),
        action="pause",
        on=ProjectFactory(),
        now=timezone.now(),
    )
