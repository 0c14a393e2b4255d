"""The audit trail: written with what it tells of, and never changed."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from caylex_project.accounts.audit import record
from caylex_project.accounts.models import AuditEntry
from tests.support.factories import ProjectFactory

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


COPY = """
    INTO accounts_auditentry (id, at, actor, action, object_type, object_id, object_name,
        project_id, reason, details)
    SELECT id, at, actor, action, object_type, object_id, object_name, project_id, 'Nobody asked.',
        details FROM accounts_auditentry
"""
CHANGES = {
    "update": "UPDATE accounts_auditentry SET reason = 'Nobody asked.'",
    "update of one": "UPDATE accounts_auditentry SET reason = 'x' WHERE id = (SELECT max(id) FROM "
    "accounts_auditentry)",
    "delete": "DELETE FROM accounts_auditentry",
    "delete where": "DELETE FROM accounts_auditentry WHERE id > 0",
    "upsert": f"INSERT {COPY} WHERE true ON CONFLICT (id) DO UPDATE SET reason = excluded.reason",
}
OF_POSTGRESQL = {
    "truncate": "TRUNCATE accounts_auditentry",
    "truncate cascade": "TRUNCATE accounts_auditentry RESTART IDENTITY CASCADE",
    "truncate with others": "TRUNCATE django_session, accounts_auditentry",
    "replica update": "SET LOCAL session_replication_role = replica; " + CHANGES["update"],
    "replica delete": "SET LOCAL session_replication_role = replica; " + CHANGES["delete"],
    "replica truncate": "SET LOCAL session_replication_role = replica; "
    "TRUNCATE accounts_auditentry",
    "merge": "MERGE INTO accounts_auditentry a USING accounts_auditentry b ON a.id = b.id "
    "WHEN MATCHED THEN UPDATE SET reason = 'Nobody asked.'",
    "merge delete": "MERGE INTO accounts_auditentry a USING accounts_auditentry b ON a.id = b.id "
    "WHEN MATCHED THEN DELETE",
    "delete in a query": "WITH gone AS (DELETE FROM accounts_auditentry RETURNING id) "
    "SELECT count(*) FROM gone",
}
OF_SQLITE = {
    "insert or replace": f"INSERT OR REPLACE {COPY}",
    "replace": f"REPLACE {COPY}",
    "replace by rowid": f"REPLACE {COPY.replace('(id,', '(rowid,', 1)}",
    "update or replace": "UPDATE OR REPLACE accounts_auditentry SET id = id + 1",
    "insert or ignore": f"INSERT OR IGNORE {COPY}",
    "insert below one": f"INSERT {COPY.replace('SELECT id', 'SELECT -1', 1)}",
}


STATEMENTS = CHANGES | (OF_SQLITE if connection.vendor == "sqlite" else OF_POSTGRESQL)


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_database_refuses_every_statement_that_changes_or_deletes_an_entry(
    entry: AuditEntry, name: str
) -> None:
    before = list(AuditEntry.objects.values())

    with pytest.raises(IntegrityError, match="cannot be changed or deleted"):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(STATEMENTS[name])

    assert list(AuditEntry.objects.values()) == before


def test_the_database_refuses_what_the_models_would_do_to_entries(entry: AuditEntry) -> None:
    for attempt in (
        lambda: AuditEntry.objects.update(reason="Nobody asked."),
        lambda: AuditEntry.objects.all().delete(),
        lambda: AuditEntry(pk=entry.pk, at=timezone.now(), actor="x").save(),
    ):
        with pytest.raises(IntegrityError, match="cannot be changed or deleted"):
            with transaction.atomic():
                attempt()

    assert AuditEntry.objects.get().reason == "They asked."


def test_entries_are_added_after_a_change_was_refused(entry: AuditEntry) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEntry.objects.update(reason="Nobody asked.")
    for _ in range(2):
        record(actor=User.objects.get(), action="x", on=ProjectFactory(), now=timezone.now())

    assert AuditEntry.objects.count() == 3


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
