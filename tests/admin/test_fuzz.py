"""Thousands of odd addresses of the admin, as each role: no server error, and nothing hidden told.

Each run takes another sample, whose seed is printed: `CAYLEX_FUZZ_SEED` repeats it, and
`CAYLEX_FUZZ_SAMPLE` makes it larger.
"""

from __future__ import annotations

import difflib
import json
import os
import random
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import CharField, TextField
from django.test import Client

from caylex_project.accounts.models import StaffScope
from tests.accounts.test_admin import rows  # noqa: F401
from tests.admin.odd_addresses import Fields, Lists, Odd, odd_form, odd_parameters, stray
from tests.admin.test_every_address import World, addresses, everything, world  # noqa: F401
from tests.support.factories import ProjectFactory

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(600)]
GROUPS = ("support viewer", "support operator", "project admin")
SAMPLE = int(os.environ.get("CAYLEX_FUZZ_SAMPLE", "60"))  # addresses of each kind for each role
PATIENCE = 60.0  # seconds for each role, after which the sample ends
WORD = "kumquat"  # stands in what is hidden, and nowhere else
URL = f"https://example.com/?key={WORD}"
HIDDEN: dict[str, dict[str, Any]] = {  # from staff who may not see payloads
    "tasks_app.agenttask": {
        "prompt": WORD,
        "report": WORD,
        "opening_notes": [WORD],
        "status": "INCOMPLETE",
        "stop_reason": "max_steps",
        "error": None,
    },
    "tasks_app.step": {
        "request": {"schema": 1, "system": WORD, "notes": [WORD]},
        "response": {"role": "assistant", "content": WORD},
    },
    "tasks_app.toolcall": {"arguments": json.dumps({"key": WORD}), "result": WORD},
    "tasks_app.event": {"data": {"reason": WORD}},
    "tasks_app.webhookdelivery": {"data": {"report": WORD}, "url": URL},
    "tasks_app.webhookendpoint": {"url": URL},
    "accounts.platformtoken": {"digest": WORD},
    "accounts.navigatorkey": {"digest": WORD},
}
NOT_WORDS = {"kind", "event", "action", "timezone", "pid_started", "url", "arguments", "media_type"}
INPUT = re.compile(rf"\w*{WORD}\w*|\w*{WORD[::-1]}\w*")
ASK_A_SERVER = ("_test", "_refresh")  # they would wait for one
NOISE = re.compile(r'csrfmiddlewaretoken" value="\w+"|<ul class="messagelist">.*?</ul>', re.DOTALL)


@pytest.fixture
def rng() -> random.Random:
    """A generator whose seed is printed."""
    seed = os.environ.get("CAYLEX_FUZZ_SEED") or secrets.token_hex(4)
    print(f"CAYLEX_FUZZ_SEED={seed}")
    return random.Random(seed)


def plant_in_payloads(found: World) -> None:
    """Write the word into what only some roles may see."""
    for label, values in HIDDEN.items():
        row = found.rows[label]
        row.__class__.objects.filter(pk=row.pk).update(**values)


def plant_everywhere(found: World) -> None:
    """Write the word into every text of every row but those of staff."""
    plant_in_payloads(found)
    for label, row in found.rows.items():
        if label.startswith("auth.") or label in ("accounts.auditentry", "accounts.staffscope"):
            continue
        names = [
            each.name
            for each in row._meta.concrete_fields
            if isinstance(each, CharField | TextField)
            and not (each.choices or each.primary_key or each.name in NOT_WORDS)
            and each.name not in HIDDEN.get(label, {})
        ]
        row.__class__.objects.filter(pk=row.pk).update(**dict.fromkeys(names, WORD))


def signed_in(name: str, group: str | None, *, limited: bool) -> Client:
    user = User.objects.create_user(name, is_staff=True, is_superuser=group is None)
    if group is not None:
        user.groups.add(Group.objects.get(name=group))
    if limited:
        StaffScope.objects.create(user=user).projects.add(ProjectFactory())
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def sample(pages: dict[str, str], rng: random.Random) -> Iterator[Odd]:
    """Yield addresses of every kind, each kind as often as the others."""
    lists, known = Lists(rng), list(pages.values())
    end = time.monotonic() + PATIENCE * max(1, SAMPLE / 60)
    for _ in range(SAMPLE):
        if time.monotonic() > end:
            break
        yield lists.question(WORD)
        yield lists.odd_filter()
        yield odd_parameters(pages=known, rng=rng)
        yield stray(pages=known, rng=rng)


def asked(client: Client, address: str) -> tuple[int, str]:
    """Return the status, and what a page that is one says."""
    savepoint = transaction.savepoint()
    answer = client.get(address, secure=True)
    if answer.status_code >= 500:
        transaction.savepoint_rollback(savepoint)  # the others go on after a refused statement
    text = answer.content.decode(errors="replace") if answer.status_code < 300 else ""
    return answer.status_code, text


def facts(text: str) -> str:
    """Return the page without what it repeats of the question."""
    return NOISE.sub("", INPUT.sub("", text))


def fault_of(client: Client, odd: Odd) -> str | None:
    """Ask, and return what is wrong with the answer: an error, or something hidden that it tells.

    A question tells it by the rows of its answer, whatever they show.
    """
    status, text = asked(client, odd.address)
    if status >= 500:
        return f"{status} {odd.address}"
    if WORD not in odd.address and WORD in text:
        return f"shown by {odd.address}"
    if odd.counterpart is not None:
        other, other_text = asked(client, odd.counterpart)
        if (status, facts(text)) != (other, facts(other_text)):
            lines = difflib.unified_diff(facts(text).splitlines(), facts(other_text).splitlines())
            return f"{status} and {other} answer {odd.address}: {''.join(lines)[:500]}"
    return None


def faults(client: Client, pages: dict[str, str], rng: random.Random) -> str:
    """Return what is wrong with the answers to a sample; nobody's rows change by them."""
    before = everything()
    found = [fault for each in sample(pages, rng) if (fault := fault_of(client, each))]
    assert everything() == before
    return "\n".join(found)


@pytest.mark.parametrize("group", [*GROUPS, None])
def test_staff_limited_to_a_project_learn_nothing_of_another_by_any_address(
    world: World,  # noqa: F811
    rng: random.Random,
    group: str | None,
) -> None:
    pages = addresses(world)
    client = signed_in("limited-to-one", group, limited=True)
    plant_everywhere(world)

    assert faults(client, pages, rng) == ""


@pytest.mark.parametrize("group", ["support viewer", "project admin"])
def test_staff_who_may_not_see_payloads_learn_nothing_of_them_by_any_address(
    world: World,  # noqa: F811
    rng: random.Random,
    group: str,
) -> None:
    pages = addresses(world)
    client = signed_in("of-all", group, limited=False)
    plant_in_payloads(world)

    assert faults(client, pages, rng) == ""


def test_no_answer_to_any_form_is_a_server_error(
    world: World,  # noqa: F811
    rng: random.Random,
) -> None:
    pages = addresses(world)
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(username="superuser"))
    fields = {
        path: Fields(asked(client, path)[1]).values
        for name, path in pages.items()
        if not name.endswith(ASK_A_SERVER)
    }
    session = client.cookies["sessionid"].value
    found = []

    for _ in range(SAMPLE * 6):
        path = rng.choice(list(fields))
        form = odd_form(fields=fields[path], rng=rng)
        savepoint = transaction.savepoint()
        client.cookies["sessionid"] = session  # some forms end the session, until the rollback
        status = client.post(path, form, secure=True).status_code
        transaction.savepoint_rollback(savepoint)
        if status >= 500:
            found.append(f"{status} {path} {form}"[:500])

    assert "\n".join(found) == ""
