"""The largest skill through the web process: who may send so much, and what it costs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib import import_module

import httpx
import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, User
from django.urls import reverse

from caylex_project.accounts.models import Project
from caylex_project.web.limits import MAX_BODY, UPLOADS
from skills_app.models import SkillBlob, SkillRevision, SkillUpload
from skills_app.parsing.upload import MAX_UPLOAD
from tests.skills.test_skill_md import skill
from tests.skills.test_upload import packed
from tests.support.cluster import database_url
from tests.support.factories import ProjectFactory
from tests.support.web_process import Web, read_one, running_web

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]
ADD = "/admin/skills_app/skill/add/"
TLS = {"X-Forwarded-Proto": "https"}


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    with running_web(database=database_url()) as running:
        yield running


def session_of(group: str) -> str:
    """Return the key of a session of a member of the group."""
    user = User.objects.create_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def browser(web: Web, session: str) -> tuple[httpx.Client, dict[str, str]]:
    """Return a client that has opened the page, and the token that the page's form sends.

    It is as behind a proxy that speaks TLS; a jar would not send the secure cookies here.
    """
    client = httpx.Client(base_url=web.address, timeout=60)
    client.headers = httpx.Headers({**TLS, "Referer": f"https://127.0.0.1:{web.port}/"})
    own = f"{settings.SESSION_COOKIE_NAME}={session}"
    page = client.get(ADD, headers={"Cookie": own})
    cookie = re.search(r"csrftoken=(\w+)", page.headers["Set-Cookie"])
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert cookie
    assert token
    client.headers["Cookie"] = f"{own}; csrftoken={cookie[1]}"
    return client, {"csrfmiddlewaretoken": token[1]}


def test_the_page_s_address_and_limit_are_the_ones_that_the_guard_knows() -> None:
    assert {reverse("admin:skills_app_skill_add"): 21_200_000} == UPLOADS
    assert MAX_UPLOAD + 100_000 < UPLOADS[ADD] < settings.FILE_UPLOAD_MAX_MEMORY_SIZE


def test_staff_upload_twenty_megabytes_look_at_them_and_store_them(web: Web) -> None:
    project: Project = ProjectFactory()
    noise = [os.urandom(4_990_000) for _ in range(4)]
    data = packed(
        ("SKILL.md", skill().encode()), *((f"{n}.bin", each) for n, each in enumerate(noise))
    )
    client, token = browser(web, session_of("project admin"))
    asked = {**token, "project": str(project.pk)}
    with closing(client):
        shown = client.post(ADD, data=asked, files={"file": ("a.zip", data)})
        assert shown.status_code == 200
        assert "Nothing is stored yet." in shown.text
        assert len(shown.text) < 100_000, "the file travels with the page"
        kept = re.search(r'name="kept" value="([0-9a-f-]+)"', shown.text)
        assert kept
        stored = client.post(ADD, data={**asked, "kept": kept[1], "store": "Store"})

    assert stored.status_code == 302
    assert SkillRevision.objects.count() == 1
    assert sorted(SkillBlob.objects.values_list("size", flat=True)) == [4_990_000] * 4
    assert {bytes(each.data) for each in SkillBlob.objects.all()} == set(noise)
    assert not SkillUpload.objects.exists()


LARGE = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 20000000\r\n"


@pytest.mark.parametrize("who", ["nobody", "a forged session", "support viewer"])
def test_who_may_not_upload_has_a_large_body_refused_before_it_is_sent(web: Web, who: str) -> None:
    key = {"nobody": "", "a forged session": "x" * 32}.get(who) or None
    if who == "support viewer":
        key = session_of(who)
    cookie = f"Cookie: {settings.SESSION_COOKIE_NAME}={key}\r\n" if key else ""
    head = f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n{cookie}"

    with web.connect() as connection:
        connection.sendall(head.encode() + LARGE + b"\r\n")
        answer = read_one(connection)  # not a byte of the body was sent

    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert not SkillUpload.objects.exists()


@pytest.mark.parametrize("path", ["/api/v1/agent-task", "/admin/skills_app/skill/", ADD + "x/"])
def test_no_other_address_takes_a_large_body_from_staff_either(web: Web, path: str) -> None:
    cookie = f"Cookie: {settings.SESSION_COOKIE_NAME}={session_of('project admin')}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n{cookie}"

    with web.connect() as connection:
        connection.sendall(head.encode() + LARGE + b"\r\n")
        answer = read_one(connection)

    assert answer.startswith(b"HTTP/1.1 413 "), answer


def test_a_body_of_staff_without_a_length_or_beyond_the_limit_is_413_and_memory_stays_flat(
    web: Web,
) -> None:
    cookie = f"Cookie: {settings.SESSION_COOKIE_NAME}={session_of('project admin')}\r\n"
    head = f"POST {ADD} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n{cookie}"
    too_long = LARGE.replace(b"20000000", b"21200001")
    with web.connect() as connection:
        connection.sendall(head.encode() + too_long + b"\r\n")
        assert read_one(connection).startswith(b"HTTP/1.1 413 ")

    before = web.peak_memory
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with web.connect() as connection:
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(600):
                connection.sendall(chunk)
        answer = read_one(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert web.peak_memory - before < 20_000_000
    assert MAX_BODY == 1_500_000
