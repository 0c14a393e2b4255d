"""`manage.py provision`: what the file names is made, once, and secrets are told once."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from caylex_project.accounts.keys import find_navigator_key, find_platform_token
from caylex_project.accounts.models import (
    EndUser,
    Navigator,
    NavigatorKey,
    PlatformToken,
    Project,
    Tenant,
)
from caylex_project.control.provisioning.apply import Provisioned
from caylex_project.control.provisioning.apply import provision as apply_document
from caylex_project.control.provisioning.document import parse_document
from caylex_project.integrations.access import accesses_for
from caylex_project.integrations.models import (
    Credential,
    OAuthClient,
    Server,
    ServerInstance,
    ToolPermission,
)
from caylex_project.integrations.sealing import open_sealed
from skills_app.models import Skill, SkillBlob, SkillRevision
from tests.skills.test_skill_md import skill

pytestmark = pytest.mark.django_db
SECRET = "planted-s3cret-1"

FILE = f"""
tenant: acme
project: support
navigator: support-bot
instructions: "Answer in plain English."
model: anthropic/claude-sonnet-4.6
servers:
  - name: tickets
    url: http://127.0.0.1:8902/mcp
    auth: {{kind: bearer, level: user}}
    tools: {{append: always_execute, wipe: disabled}}
    repeatable: [lookup]
credentials:
  - {{user_email: Jane@example.com, server: tickets, value: "{SECRET}"}}
skills: [./skills/weekly-report]
timezone: Europe/Berlin
limits: {{max_concurrent_tasks: 50, max_pending: 10000}}
"""

Provision = Callable[..., dict[str, Any]]


@pytest.fixture
def provision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Provision:
    """Provision a text, in a folder with a skill, and return the JSON that it prints."""
    folder = tmp_path / "skills" / "weekly-report"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(skill(name="Weekly report"))

    def run(text: str, *options: str) -> dict[str, Any]:
        (tmp_path / "file.yaml").write_text(text)
        call_command("provision", str(tmp_path / "file.yaml"), "--json", *options)
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    return run


def everything() -> dict[str, list[Any]]:
    """Every row of our own tables."""
    own = ("accounts", "integrations", "skills_app", "tasks_app")
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for label in own
        for model in apps.get_app_config(label).get_models()
    }


def dump() -> str:
    """Every column of every table of the database, as text; bytes as their characters."""
    parts = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                for value in row:
                    raw = isinstance(value, bytes | memoryview)
                    parts.append(bytes(value).decode("latin-1") if raw else str(value))
    return "\n".join(parts)


def test_everything_that_the_file_names_is_made(provision: Provision) -> None:
    printed = provision(FILE)

    project = Project.objects.select_related("tenant").get()
    navigator = Navigator.objects.get()
    assert (project.tenant.name, project.name, navigator.name) == (
        "acme",
        "support",
        "support-bot",
    )
    assert project.instructions == "Answer in plain English."
    assert project.timezone == "Europe/Berlin"
    assert project.limits == {"max_concurrent_tasks": 50, "max_pending": 10000}
    assert navigator.model == "anthropic/claude-sonnet-4.6"
    [access] = accesses_for(project=project, navigator=navigator, end_user=EndUser.objects.get())
    assert access.headers == {"Authorization": f"Bearer {SECRET}"}
    assert access.permissions == {"wipe": "disabled"}
    assert access.repeatable == {"lookup"}
    assert EndUser.objects.get().email == "jane@example.com"
    assert printed == {
        "tenant": "acme",
        "project": "support",
        "project_id": str(project.pk),
        "platform_access_token": printed["platform_access_token"],
        "caylex_api_key": printed["caylex_api_key"],
        "webhook_secret": printed["webhook_secret"],
        "skills": [{"id": str(Skill.objects.get().pk), "slug": "weekly-report"}],
        "skipped_skills": [],
        "servers": [{"id": str(Server.objects.get().pk), "name": "tickets"}],
        "webhooks": [],
    }


def test_the_printed_secrets_work(provision: Provision) -> None:
    printed = provision(FILE)
    now = timezone.now()

    token = find_platform_token(printed["platform_access_token"], now=now)
    assert token is not None
    key = find_navigator_key(printed["caylex_api_key"], tenant=token.tenant, now=now)
    assert key is not None
    assert key.navigator.name == "support-bot"


def test_a_second_time_changes_nothing_and_prints_no_secret(provision: Provision) -> None:
    first = provision(FILE)
    before = everything()

    second = provision(FILE)

    assert everything() == before
    secrets = ("platform_access_token", "caylex_api_key", "webhook_secret")
    assert second == {**first, **dict.fromkeys(secrets)}


def test_no_secret_is_in_the_database_or_in_the_words_for_people(
    provision: Provision, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = provision(FILE)
    call_command("provision", str(tmp_path / "file.yaml"))
    said = capsys.readouterr().out + dump()

    assert "jane@example.com" in said  # the dump does hold what is kept in clear
    assert SECRET not in said
    for secret in (printed["platform_access_token"], printed["caylex_api_key"]):
        assert secret not in said
        assert secret.split(".")[1] not in said


def test_rotated_keys_are_new_and_the_old_ones_live_for_a_day(provision: Provision) -> None:
    old = provision(FILE)
    new = provision(FILE, "--rotate-keys")
    now = timezone.now()
    late = now + datetime.timedelta(hours=24)
    tenant = Tenant.objects.get()

    for each in (old, new):
        assert find_platform_token(each["platform_access_token"], now=now) is not None
        assert find_navigator_key(each["caylex_api_key"], tenant=tenant, now=now) is not None
    assert find_platform_token(old["platform_access_token"], now=late) is None
    assert find_navigator_key(old["caylex_api_key"], tenant=tenant, now=late) is None
    assert find_platform_token(new["platform_access_token"], now=late) is not None
    assert find_navigator_key(new["caylex_api_key"], tenant=tenant, now=late) is not None


def test_a_token_made_elsewhere_and_another_projects_pair_are_left_alone(
    provision: Provision,
) -> None:
    first = provision("tenant: acme\nproject: one\n")
    other = provision("tenant: acme\nproject: two\n")
    assert other["platform_access_token"] not in (None, first["platform_access_token"])

    provision("tenant: acme\nproject: one\n", "--rotate-keys")

    late = timezone.now() + datetime.timedelta(days=400)
    tenant = Tenant.objects.get()
    assert find_platform_token(other["platform_access_token"], now=late) is not None
    assert find_navigator_key(other["caylex_api_key"], tenant=tenant, now=late) is not None


def test_a_revoked_key_is_not_made_again_by_itself(provision: Provision) -> None:
    provision(FILE)
    NavigatorKey.objects.get().revoke(timezone.now())

    assert provision(FILE)["caylex_api_key"] is None
    assert NavigatorKey.objects.count() == 1


def test_what_a_later_file_leaves_out_stays(provision: Provision) -> None:
    provision(FILE)

    provision("tenant: acme\nproject: support\nnavigator: support-bot\n")

    project = Project.objects.get()
    assert project.instructions == "Answer in plain English."
    assert project.timezone == "Europe/Berlin"
    assert Navigator.objects.get().model == "anthropic/claude-sonnet-4.6"
    assert Credential.objects.count() == 1
    assert ToolPermission.objects.count() == 1


def test_a_later_file_updates_what_it_names(provision: Provision) -> None:
    provision(FILE)

    provision(
        FILE.replace("8902", "8903")
        .replace("wipe: disabled", "erase: disabled")
        .replace("[lookup]", "[]")
        .replace(SECRET, "another-s3cret")
        .replace("plain English", "French")
    )

    server = Server.objects.get()
    assert (server.url, server.repeatable_tools) == ("http://127.0.0.1:8903/mcp", [])
    assert list(ToolPermission.objects.values_list("tool", flat=True)) == ["erase"]
    assert Project.objects.get().instructions == "Answer in French."
    [access] = accesses_for(
        project=Project.objects.get(),
        navigator=Navigator.objects.get(),
        end_user=EndUser.objects.get(),
    )
    assert access.secrets == ("another-s3cret",)


def test_a_changed_skill_is_a_new_revision(provision: Provision, tmp_path: Path) -> None:
    first = provision(FILE)
    (tmp_path / "skills" / "weekly-report" / "SKILL.md").write_text(
        skill(name="Weekly report") + "More."
    )

    assert provision(FILE)["skills"] == first["skills"]
    assert SkillRevision.objects.count() == 2


GOOD_AND_BAD = """
tenant: acme
project: p
skills:
  - ./skills/weekly-report
  - {path: ./skills/broken%s}
"""
NO_NAME = "The frontmatter needs a name, as text."


def break_a_skill(tmp_path: Path) -> None:
    (tmp_path / "skills" / "broken").mkdir()
    (tmp_path / "skills" / "broken" / "SKILL.md").write_text("---\ndescription: x\n---\nDo it.")


@pytest.mark.parametrize("said", ["", ", on_error: refuse"])
def test_one_skill_that_does_not_load_refuses_the_file(
    provision: Provision, tmp_path: Path, said: str
) -> None:
    break_a_skill(tmp_path)

    with pytest.raises(CommandError) as refused:
        provision(GOOD_AND_BAD % said)

    assert str(refused.value).endswith(f"\nskills[1]: ./skills/broken: {NO_NAME}")
    assert not Skill.objects.exists()
    assert not Project.objects.exists()


def test_a_skill_may_be_skipped_where_the_file_says_so_and_is_told(
    provision: Provision, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    break_a_skill(tmp_path)
    (tmp_path / "file.yaml").write_text(GOOD_AND_BAD % ", on_error: skip")
    call_command("provision", str(tmp_path / "file.yaml"))
    said = capsys.readouterr()

    assert said.err == f"Warning: skills[1]: ./skills/broken is skipped: {NO_NAME}\n"
    assert f"skipped skill         ./skills/broken: {NO_NAME}\n" in said.out
    assert [each.slug for each in Skill.objects.all()] == ["weekly-report"]
    printed = provision(GOOD_AND_BAD % ", on_error: skip")
    assert printed["skipped_skills"] == [{"path": "./skills/broken", "why": NO_NAME}]
    assert [each["slug"] for each in printed["skills"]] == ["weekly-report"]


def test_a_skill_that_was_stored_and_is_skipped_now_stays_as_it_was(
    provision: Provision, tmp_path: Path
) -> None:
    text = HEAD + "skills: [{path: ./skills/weekly-report, on_error: skip}]"
    provision(text)
    (tmp_path / "skills" / "weekly-report" / "SKILL.md").write_text("broken")

    printed = provision(text)

    assert printed["skills"] == []
    assert [each["path"] for each in printed["skipped_skills"]] == ["./skills/weekly-report"]
    assert Skill.objects.get().current == SkillRevision.objects.get()


def test_a_second_skill_of_a_name_may_be_skipped_too(
    provision: Provision, capsys: pytest.CaptureFixture[str]
) -> None:
    again = "{path: ./skills/weekly-report/SKILL.md, on_error: skip}"
    printed = provision(HEAD + f"skills: [./skills/weekly-report, {again}]")

    assert [each["why"] for each in printed["skipped_skills"]] == [
        "a skill 'weekly-report' is listed before."
    ]
    assert SkillRevision.objects.count() == 1


def test_what_is_kept_aside_or_read_leniently_is_a_warning(
    provision: Provision, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "skills" / "weekly-report"
    (folder / "SKILL.md").write_text(skill(description="Use when: asked"))
    (folder / "logo.png").write_bytes(b"\x89PNG\xff")
    (tmp_path / "file.yaml").write_text(HEAD + "skills: [./skills/weekly-report]")
    call_command("provision", str(tmp_path / "file.yaml"))

    where = "Warning: skills[0]: ./skills/weekly-report: "
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        f"{where}Kept aside because an agent cannot read them (not text, or too large): logo.png "
        "(image/png, 5 bytes)."
    )
    assert second == (
        f"{where}The frontmatter's description is not valid YAML as written; it was read as text."
    )
    assert SkillBlob.objects.get().size == 5


def test_a_credential_may_stand_in_a_file_or_in_the_environment(
    provision: Provision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    monkeypatch.setenv("PLANTED", "from-the-environment")
    provision(
        "tenant: acme\nproject: p\n"
        "servers:\n"
        "  - {name: a, url: 'http://127.0.0.1/', auth: {kind: bearer}}\n"
        "  - {name: b, url: 'http://127.0.0.1/', auth: {kind: header, name: X, prefix: 'Key '}}\n"
        "credentials: [{server: a, value_file: secret}, {server: b, value_env: PLANTED}]\n"
    )

    user = EndUser.objects.create(project=Project.objects.get(), email="a@example.com")
    found = accesses_for(
        project=Project.objects.get(), navigator=Navigator.objects.get(), end_user=user
    )
    assert [each.headers for each in found] == [
        {"Authorization": "Bearer from-a-file"},
        {"X": "Key from-the-environment"},
    ]


HEAD = "tenant: acme\nproject: p\n"
SERVER = HEAD + "servers: [{name: a, url: 'http://127.0.0.1/', auth: {kind: bearer, level: %s}}]\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEAD + "skills: [nowhere]", "skills[0]: nowhere: There is no such folder"),
        (HEAD + "skills: [skills]", "skills[0]: skills: The folder holds no SKILL.md."),
        (
            HEAD + "skills: [skills/weekly-report, ./skills/weekly-report/SKILL.md]",
            "skills[1]: ./skills/weekly-report/SKILL.md: a skill 'weekly-report' is listed before.",
        ),
        (HEAD + "servers: [{name: a, url: 'http://10.0.0.1/'}]", "servers[0].url: The address of"),
        (
            HEAD + "servers: [{name: a, url: 'http://127.0.0.1/', auth: {kind: path, name: k}}]",
            "servers[0].url: with auth kind path it holds {k} exactly once, in its path.",
        ),
        (
            SERVER % "user" + "credentials: [{server: a, value: s3cret-12}]",
            "credentials[0]: Each user of a has a credential: say whose it is.",
        ),
        (
            SERVER % "project"
            + "credentials: [{server: a, user_email: j@x.example, value: s3cret-12}]",
            "credentials[0]: The server a takes one credential for the whole project",
        ),
        (
            SERVER % "project" + "credentials: [{server: a, value: s3cret}]",
            "credentials[0]: The value is too short: at least 8 characters.",
        ),
        (
            SERVER % "project" + "credentials: [{server: b, value: s3cret-12}]",
            (
                "credentials[0].server: b is not connected to the project; list it under servers "
                "(connected: a)."
            ),
        ),
        (
            SERVER % "project" + "credentials: [{server: a, value_env: s3cret-of-mine}]",
            "credentials[0].value_env: the environment has no such variable.",
        ),
        (
            SERVER % "project" + "credentials: [{server: a, value_file: s3cret-of-mine}]",
            "credentials[0].value_file: No such file or directory.",
        ),
        (
            SERVER % "project" + "credentials: [{server: a, value_file: skills}]",
            "credentials[0].value_file: Is a directory.",
        ),
    ],
)
def test_a_mistake_is_said_and_nothing_is_made(
    provision: Provision, text: str, sentence: str
) -> None:
    with pytest.raises(CommandError) as refused:
        provision(text)

    first, said = str(refused.value).split("\n")
    assert first.endswith("file.yaml: nothing was changed.")
    assert said.startswith(sentence)
    assert "s3cret" not in said
    for model in (Tenant, Project, Server, ServerInstance, Skill, PlatformToken, NavigatorKey):
        assert not model._default_manager.exists(), model


def test_a_name_that_does_not_resolve_is_a_warning(
    provision: Provision, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = HEAD + "servers: [{name: a, url: 'https://no-such-host.invalid/mcp'}]"
    (tmp_path / "file.yaml").write_text(text)

    call_command("provision", str(tmp_path / "file.yaml"))

    said = capsys.readouterr()
    assert said.err.startswith(
        "Warning: servers[0].url: The name no-such-host.invalid does not resolve"
    )
    assert Server.objects.count() == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_four_that_provision_at_once_make_one_pair_of_secrets(tmp_path: Path) -> None:
    document = parse_document(HEAD + "servers: [{name: a, url: 'http://127.0.0.1/'}]")
    start = threading.Barrier(4)
    made: list[Provisioned] = []

    def run() -> None:
        try:
            start.wait(timeout=30)
            made.append(
                apply_document(
                    document, folder=tmp_path, environ={}, rotate_keys=False, now=timezone.now()
                )
            )
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert len(made) == 4
    assert sum(each.platform_access_token is not None for each in made) == 1
    assert sum(each.caylex_api_key is not None for each in made) == 1
    assert (PlatformToken.objects.count(), NavigatorKey.objects.count()) == (1, 1)


OAUTH = """
tenant: acme
project: support
servers:
  - name: tracker
    url: https://tracker.example.com/mcp
    auth: {kind: oauth2, level: user, issuer: https://id.example.com, scopes: [read],
           client_id: caylex, client_secret_env: TRACKER_SECRET}
  - {name: crm, url: https://crm.example.com/mcp, auth: {kind: oauth2, level: user}}
"""


def test_oauth_servers_need_no_more_than_their_kind_and_may_name_a_client(
    provision: Provision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_SECRET", SECRET)
    provision(OAUTH)
    provision(OAUTH)
    tracker = Server.objects.get(name="tracker")
    assert (tracker.auth_kind, tracker.oauth_issuer) == ("oauth2", "https://id.example.com")
    assert tracker.oauth_scopes == ["read"]
    client = OAuthClient.objects.get()
    assert (client.server, client.client_id, client.kind) == (tracker, "caylex", "registered")
    assert open_sealed(client.sealed, row_id=client.pk) == SECRET
    assert SECRET not in str(everything())


def test_a_client_secret_that_the_environment_lacks_makes_nothing(
    provision: Provision, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match=r"servers\[0\].auth.client_secret_env"):
        provision(OAUTH)
    assert not Server.objects.exists()
