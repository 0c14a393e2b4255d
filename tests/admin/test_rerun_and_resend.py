"""A task run anew, a webhook's message sent again, and commands to copy."""

from __future__ import annotations

import html
import json
import re
import shlex
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from caylex_project.accounts.models import AuditEntry, StaffScope
from skills_app.models import Skill
from tasks_app.models import AgentTask, WebhookDelivery, WebhookEndpoint
from tests.admin.test_bulk_actions import (
    COMPLETED,
    FAILED,
    WHY,
    change_page,
    do,
    operator,  # noqa: F401
    rows,
    staff,
    told,
    trail,
)
from tests.api.test_poll import ended, make_task
from tests.support.accounts import Account
from tests.support.factories import SkillFactory

RESEND = "/admin/tasks_app/webhookdelivery/resend/"
HOOK = "https://93.184.216.34/hook?token=planted"


def delivered(task: AgentTask, **fields: Any) -> WebhookDelivery:
    given = {"state": "failed", "attempts": 3, "last_status": 500, **fields}
    now = timezone.now()
    return WebhookDelivery.objects.create(
        task=task,
        url=HOOK,
        event="agent_task.failed",
        data={},
        next_attempt_at=now,
        created_at=now,
        **given,
    )


def resend_page(delivery: WebhookDelivery) -> str:
    return f"{RESEND}?message={delivery.pk}"


def resend(client: Client, *deliveries: WebhookDelivery, reason: str = WHY) -> Any:
    data = {"message": [str(each.pk) for each in deliveries], "reason": reason}
    return client.post(RESEND, data, secure=True)


def test_a_rerun_makes_a_new_task_and_the_two_lead_to_each_other(
    operator: Client,  # noqa: F811
    acme: Account,
) -> None:
    old = ended(acme, **FAILED, prompt="Count the tickets.", metadata={"ticket": "81"})
    before = rows()[0]

    answer = do(operator, "rerun", old)

    new = AgentTask.objects.exclude(pk=old.pk).get()
    assert (answer["Location"], told(answer)) == (change_page(new), [("success", "Run anew: 1.")])
    assert (new.status, new.prompt, new.metadata) == ("PENDING", old.prompt, old.metadata)
    assert AgentTask.objects.values().get(pk=old.pk) == before
    assert trail() == [("olga", "rerun", str(old.pk), WHY)]
    assert AuditEntry.objects.get().details == {"new_task": str(new.pk)}
    assert change_page(new) in operator.get(change_page(old), secure=True).content.decode()
    assert change_page(old) in operator.get(change_page(new), secure=True).content.decode()


def test_what_cannot_be_run_anew_says_why_and_makes_nothing(
    operator: Client,  # noqa: F811
    acme: Account,
) -> None:
    skill: Skill = SkillFactory(project=acme.project)
    lost = ended(acme, **FAILED, required_skill={"slug": skill.slug})
    skill.delete()
    hooked = ended(acme, **FAILED, webhook={"url": "http://10.0.0.1/", "events": []})
    open_task = make_task(acme)

    whys = [told(do(operator, "rerun", each))[-1] for each in (lost, hooked, open_task)]

    assert whys[0] == ("warning", "Not run anew: 1. Its skill is no more.")
    assert whys[1][1].startswith("Not run anew: 1. Its webhook is allowed no more: ")
    assert whys[2][1].endswith("can be run anew, not PENDING.")
    assert AgentTask.objects.count() == 3
    assert trail() == []


def test_a_message_is_sent_again_under_its_own_id(
    operator: Client,  # noqa: F811
    acme: Account,
) -> None:
    task = ended(acme, **FAILED)
    delivery = delivered(task)

    page = operator.get(change_page(task), secure=True).content.decode()
    assert f'href="{resend_page(delivery)}"' in page
    asked = operator.get(resend_page(delivery), secure=True).content.decode()
    assert "planted" not in page + asked
    assert "https://93.184.216.34/hook?…" in asked
    assert WebhookDelivery.objects.get().state == "failed"
    answer = resend(operator, delivery)

    assert (answer["Location"], told(answer)) == (
        change_page(task),
        [("success", "Sent again: 1.")],
    )
    row = WebhookDelivery.objects.get()
    assert (row.pk, row.state, row.attempts, row.last_status) == (delivery.pk, "waiting", 0, None)
    assert trail() == [("olga", "resend", str(task.pk), WHY)]
    assert "planted" not in str(list(AuditEntry.objects.values()))
    assert (
        resend_page(delivery) not in operator.get(change_page(task), secure=True).content.decode()
    )


def test_a_message_is_not_sent_again_by_a_get_by_strangers_or_to_what_is_disabled(
    operator: Client,  # noqa: F811
    acme: Account,
    rival: Account,
) -> None:
    disabled = WebhookEndpoint.objects.create(
        project=acme.project, url=HOOK, disabled_at=timezone.now()
    )
    off, others = delivered(ended(acme, **FAILED), endpoint=disabled), delivered(make_task(rival))
    viewer = staff("vera", "view_agenttask")
    StaffScope.objects.create(user=User.objects.get(username="olga")).projects.add(acme.project)
    before = list(WebhookDelivery.objects.order_by("pk").values())

    assert viewer.get(resend_page(off), secure=True).status_code == 403
    assert resend(viewer, off).status_code == 403
    assert operator.get(f"{resend_page(off)}&reason=x", secure=True).status_code == 200
    assert operator.get(resend_page(others), secure=True).status_code == 404
    assert resend(operator, others).status_code == 404
    assert resend(operator, off, reason="").status_code == 200
    refused = resend(operator, off)

    said = "Not sent again: 1. Its endpoint is disabled; enable that first."
    assert told(refused)[-1][1] == said
    assert list(WebhookDelivery.objects.order_by("pk").values()) == before
    assert trail() == []


def test_the_commands_to_copy_work_and_hold_no_secret(acme: Account, client: Client) -> None:
    prompt = 'It\'s "quoted" $HOME `x` <b>\nand so on'
    task = ended(
        acme, **COMPLETED, prompt=prompt, metadata={"a": "b"}, webhook={"url": HOOK, "events": []}
    )
    reader = staff("rita", "view_agenttask", "view_payload")
    reader.post(f"/admin/tasks_app/agenttask/{task.pk}/payloads/", secure=True)

    page = reader.get(change_page(task), secure=True).content.decode()
    copies = [html.unescape(each) for each in re.findall(r'data-copy="([^"]*)"', page)]
    poll, submit = [shlex.split(each) for each in copies if each.startswith("curl ")]

    assert poll[-1] == f"https://testserver/api/v1/agent-task/{task.pk}"
    assert "Authorization: Bearer $CAYLEX_PLATFORM_TOKEN" in poll
    assert "planted" not in page
    body = json.loads(submit[-1])
    assert (body["prompt"], body["caylex_api_key"]) == (prompt, "ck_your_navigator_api_key")
    body["caylex_api_key"] = acme.key
    answer = client.post(
        submit[submit.index("POST") + 1].removeprefix("https://testserver"),
        json.dumps(body),
        content_type="application/json",
        secure=True,
        headers={"Authorization": f"Bearer {acme.token}"},
    )
    assert answer.status_code == 202
    shown = staff("vera", "view_agenttask").get(change_page(task), secure=True).content.decode()
    assert shown.count('data-copy="curl ') == 1
