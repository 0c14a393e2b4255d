"""What staff do with tasks and secrets is in the audit trail, or not done at all."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from caylex_project.accounts.keys import issue_platform_token
from caylex_project.accounts.models import AuditEntry, PlatformToken
from tasks_app.models import AgentTask
from tasks_app.operations import staff
from tests.accounts.test_admin import Browser, revoke
from tests.admin.test_bulk_actions import FAILED, WHY, do, operator, trail  # noqa: F401
from tests.api.test_poll import ended, make_task
from tests.support.accounts import Account
from tests.support.factories import EndUserFactory, ServerInstanceFactory, TenantFactory

SECRET = "planted-s3cret-1"


def test_a_cancel_and_a_retry_are_entries_with_actor_project_and_reason(
    operator: Client,  # noqa: F811
    acme: Account,
) -> None:
    waiting, failed = make_task(acme), ended(acme, **FAILED)

    do(operator, "cancel", waiting, reason="Jane asked")
    do(operator, "retry", failed)
    do(operator, "retry", failed)  # refused: it is PENDING again

    assert trail() == [
        ("olga", "cancel", str(waiting.pk), "Jane asked"),
        ("olga", "retry", str(failed.pk), WHY),
    ]
    assert {each.project_id for each in AuditEntry.objects.all()} == {waiting.project_id}


def test_what_cannot_be_written_down_is_not_done(
    operator: Client,  # noqa: F811
    acme: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(acme)

    def refuse(**entry: Any) -> None:
        raise RuntimeError("no trail")

    monkeypatch.setattr(staff, "record", refuse)
    with pytest.raises(RuntimeError):
        do(operator, "cancel", task)

    assert AgentTask.objects.get().status == "PENDING"


@pytest.mark.django_db
def test_secrets_made_revoked_and_pasted_are_entries_without_the_secret() -> None:
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    row, _ = issue_platform_token(tenant=TenantFactory(), name="old")
    instance: Any = ServerInstanceFactory(server__auth_kind="bearer", auth_level="user")
    jane: Any = EndUserFactory(project=instance.project)

    browser.post(
        "/admin/accounts/platformtoken/add/", {"tenant": str(row.tenant_id), "name": "new"}
    )
    revoke(browser, row)
    revoke(browser, row)  # nothing is left to do
    said = {"instance": str(instance.pk), "end_user": str(jane.pk), "value": SECRET}
    browser.post("/admin/integrations/credential/add/", said)

    made = PlatformToken.objects.get(name="new")
    assert [(each[1], each[2]) for each in trail()[:2]] == [
        ("make", str(made.pk)),
        ("revoke", str(row.pk)),
    ]
    assert [each[1] for each in trail()[2:]] == ["paste"]
    assert SECRET not in str(list(AuditEntry.objects.values()))
