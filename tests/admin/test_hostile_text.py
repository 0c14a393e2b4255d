"""Markup in whatever a customer, a model, a tool or a server said: the admin shows it as text."""

from __future__ import annotations

import html
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import CharField, TextField
from django.utils import timezone

from caylex_project.accounts.audit import record
from tests.accounts.test_admin import rows  # noqa: F401
from tests.admin.test_every_address import World, addresses, signed_in, world  # noqa: F401

pytestmark = pytest.mark.django_db
HOSTILE = "\"'><svg/onload=planted()>"
WORDS_OF_OURS = {"kind", "event", "action", "digest", "timezone", "pid_started", "version"}
WORDS_OF_OURS |= {"media_type"}  # out of our own table
PLACES_IN_JSON: dict[str, dict[str, Any]] = {
    "tasks_app.agenttask": {
        "status": "INCOMPLETE",
        "stop_reason": "max_steps",
        "error": None,
        "report": f"# {HOSTILE}\n[a](javascript:planted()) ![b](https://evil.example/planted)",
        "metadata": {HOSTILE: HOSTILE},
        "authentication_needed": [HOSTILE],
        "opening_notes": [HOSTILE],
        "webhook": {"url": f"https://example.com/{HOSTILE}"},
        "required_skill": dict.fromkeys(("id", "name", "slug", "source"), HOSTILE),
    },
    "tasks_app.step": {
        "request": {"schema": 1, "system": HOSTILE, "notes": [HOSTILE]},
        "response": {"role": "assistant", "content": HOSTILE},
    },
    "tasks_app.toolcall": {"arguments": json.dumps({HOSTILE: HOSTILE})},
    "tasks_app.event": {"data": {"reason": HOSTILE}},
    "tasks_app.webhookdelivery": {"data": {"report": HOSTILE}},
    "integrations.serverinstance": {"tools": [{"name": HOSTILE, "description": HOSTILE}]},
}


def plant(world: World) -> None:  # noqa: F811
    """Write the markup into every text of every row that is not in words of ours."""
    for label, row in world.rows.items():
        if label.startswith("auth.") or label == "accounts.auditentry":
            continue
        texts = {
            each.name: HOSTILE
            for each in row._meta.concrete_fields
            if isinstance(each, CharField | TextField)
            and not (each.choices or each.primary_key or each.name in WORDS_OF_OURS)
            and (each.max_length or 999) > len(HOSTILE)
        }
        row.__class__.objects.filter(pk=row.pk).update(**texts | PLACES_IN_JSON.get(label, {}))
    boss, now = User.objects.get(username="superuser"), timezone.now()
    project = world.rows["accounts.project"]
    record(actor=boss, action="x", on=project, project_id=project.pk, now=now, reason=HOSTILE)


def test_no_page_has_it_as_markup_and_what_is_downloaded_is_plain_text(
    world: World,  # noqa: F811
) -> None:
    pages, browser = addresses(world), signed_in("superuser")
    plant(world)
    browser.post(pages["tasks_app_agenttask_open"], {"reason": "Look"}, secure=True)
    shown = 0

    for name, path in pages.items():
        if name.endswith(("_add", "_delete", "_history")):
            continue  # they show what the others do
        answer = browser.get(path, secure=True)
        text = answer.content.decode()
        assert answer.status_code < 500, path
        assert answer["X-Content-Type-Options"] == "nosniff", path
        if answer["Content-Type"].startswith("text/html"):
            assert "<svg/" not in text, path
            assert 'href="javascript:' not in text, path
            assert 'src="https://evil' not in text, path
            shown += html.escape(HOSTILE) in text
        elif HOSTILE in text:
            assert answer["Content-Type"].startswith(("text/plain", "application/json")), path
    assert shown > 40
