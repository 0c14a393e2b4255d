"""Tokens are renewed unattended: once for all who need it, and honestly where that fails."""

from __future__ import annotations

import asyncio
import datetime
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from django.db import connection
from django.utils import timezone

from agent_runtime.oauth.clients import Client, ClientKind
from agent_runtime.oauth.tokens import TokenSet
from caylex_project.integrations.models import Credential, CredentialState
from caylex_project.integrations.oauth_tokens import Source, keep_client, store_tokens, tokens_of
from caylex_project.integrations.renewal import Renewed, is_due, renew
from tests.integrations.test_server_pages import beside
from tests.support.cluster import database_url
from tests.support.factories import EndUserFactory, ServerInstanceFactory
from tests.unit.oauth.authority import Authority, an_authority

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def authority() -> Iterator[Authority]:
    with beside(an_authority()) as served:
        served.refresh_tokens["rt-jane-0"] = "jane"
        yield served


def kept(authority: Authority, *, refresh: str = "rt-jane-0") -> Credential:
    instance = ServerInstanceFactory(
        server__auth_kind="oauth2", server__url=authority.mcp, auth_level="user"
    )
    client = keep_client(
        Client(issuer=authority.issuer, client_id="c", kind=ClientKind.DYNAMIC),
        tenant_id=instance.server.tenant_id,
        redirect_uri="x",
    )
    return store_tokens(
        instance=instance,
        end_user=EndUserFactory(project=instance.project),
        tokens=TokenSet(access="at-old", refresh=refresh, expires_in=30),
        source=Source(
            client=client,
            issuer=authority.issuer,
            resource=authority.mcp,
            token_endpoint=f"{authority.base}/token",
        ),
        now=timezone.now(),
    )


async def in_thread(work: object) -> object:
    def run() -> object:
        try:
            return work()  # type: ignore[operator]
        finally:
            connection.close()

    return await asyncio.to_thread(run)


def renewed(row: Credential, *, times: int = 1, version: int | None = None) -> list[Renewed]:
    seen = row.version if version is None else version

    async def all_at_once() -> list[Renewed]:
        each = (renew(row.pk, seen_version=seen, in_thread=in_thread) for _ in range(times))
        return list(await asyncio.gather(*each))

    return asyncio.run(all_at_once())


def test_a_token_is_due_a_minute_before_its_end() -> None:
    now = timezone.now()
    end = now + datetime.timedelta(seconds=61)
    assert not is_due(end, now)
    assert is_due(end, now + datetime.timedelta(seconds=1))
    assert not is_due(None, now)


def test_fifty_at_once_make_one_request_and_get_the_same_token(authority: Authority) -> None:
    authority.token_delay = 0.5
    row = kept(authority)
    results = renewed(row, times=50)
    assert len(authority.posts("/token")) == 1
    assert {each.problem for each in results} == {""}
    assert len({each.access for each in results}) == 1
    row.refresh_from_db()
    tokens = tokens_of(row)
    assert tokens is not None
    assert tokens.access == results[0].access != "at-old"
    assert tokens.refresh in authority.refresh_tokens
    assert (row.refresh_id, row.version) == (None, results[0].version)


def test_the_request_is_for_the_resource(authority: Authority) -> None:
    renewed(kept(authority))
    assert authority.posts("/token")[0]["resource"] == authority.mcp


def test_who_saw_an_older_version_gets_what_is_there_without_a_request(
    authority: Authority,
) -> None:
    row = kept(authority)
    (result,) = renewed(row, version=row.version - 1)
    assert (result.access, authority.posts("/token")) == ("at-old", [])


def test_a_server_that_does_not_rotate_keeps_its_refresh_token(authority: Authority) -> None:
    authority.rotates = False
    row = kept(authority)
    renewed(row)
    row.refresh_from_db()
    tokens = tokens_of(row)
    assert tokens is not None
    assert tokens.refresh == "rt-jane-0"


def test_an_invalid_grant_is_final_and_is_asked_once(authority: Authority) -> None:
    row = kept(authority, refresh="rt-unknown")
    first, second = renewed(row)[0], renewed(row)[0]
    assert first == second
    assert (first.problem, first.final) == ("the authorization server no longer renews it", True)
    row.refresh_from_db()
    assert row.state == CredentialState.REFUSED
    assert len(authority.posts("/token")) == 1


def test_an_invalid_grant_for_a_version_that_was_replaced_marks_nothing(
    authority: Authority,
) -> None:
    authority.token_delay = 0.5
    row = kept(authority, refresh="rt-unknown")

    async def replaced_meanwhile() -> Renewed:
        asked = asyncio.create_task(renew(row.pk, seen_version=row.version, in_thread=in_thread))
        await asyncio.sleep(0.25)
        await in_thread(
            lambda: store_tokens(
                instance=row.instance,
                end_user=row.end_user,
                tokens=TokenSet(access="at-new", refresh="rt-new"),
                source=Source(
                    client=row.client,  # type: ignore[arg-type]
                    issuer=row.issuer,
                    resource=row.resource,
                    token_endpoint=row.token_endpoint,
                ),
                now=timezone.now(),
            )
        )
        return await asked

    asyncio.run(replaced_meanwhile())
    row.refresh_from_db()
    tokens = tokens_of(row)
    assert tokens is not None
    assert (row.state, tokens.access) == (CredentialState.VALID, "at-new")


def test_a_server_that_is_away_leaves_the_credential_and_the_claim_free(
    authority: Authority,
) -> None:
    authority.raw = {"/token": b"<html>"}
    row = kept(authority)
    (result,) = renewed(row)
    assert "gave no access token" in result.problem
    row.refresh_from_db()
    assert (row.state, row.refresh_id) == (CredentialState.VALID, None)
    authority.raw.clear()
    assert renewed(row)[0].problem == ""


def test_a_claim_of_the_dead_is_waited_for_no_longer_than_it_lasts(authority: Authority) -> None:
    row = kept(authority)
    gone = timezone.now() - datetime.timedelta(seconds=1)
    Credential.objects.filter(pk=row.pk).update(refresh_id=uuid.uuid4(), refresh_until=gone)
    assert renewed(row)[0].problem == ""
    assert len(authority.posts("/token")) == 1


def test_a_rotation_whose_answer_was_lost_ends_in_a_sentence(authority: Authority) -> None:
    authority.refresh_tokens.clear()  # rotated away by the one who died
    row = kept(authority)
    gone = timezone.now() - datetime.timedelta(seconds=1)
    Credential.objects.filter(pk=row.pk).update(refresh_id=uuid.uuid4(), refresh_until=gone)
    for _ in range(3):
        (result,) = renewed(row)
        assert (result.problem, result.final) == ("the answer to the last renewal was lost", True)
    assert len(authority.posts("/token")) == 1


DIES = """
import asyncio, os, sys, time, django
django.setup()
from caylex_project.integrations import renewal
from caylex_project.integrations.bearer import in_a_thread

def _write(*_):
    print("answered", flush=True)
    time.sleep(600)

renewal._write = _write
renew = renewal.renew(sys.argv[1], seen_version=int(sys.argv[2]), in_thread=in_a_thread)
asyncio.run(renew)
"""


def test_a_worker_killed_between_answer_and_commit_ends_in_a_sentence_and_no_loop(
    authority: Authority,
) -> None:
    row = kept(authority)
    environment = {**os.environ, "DATABASE_URL": database_url()}
    arguments = [sys.executable, "-c", DIES, str(row.pk), str(row.version)]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answered\n"
        process.kill()
    row.refresh_from_db()
    assert (row.refresh_id is None, row.state) == (False, CredentialState.VALID)
    gone = timezone.now() - datetime.timedelta(seconds=1)
    Credential.objects.filter(pk=row.pk).update(refresh_until=gone)
    results = [renewed(row)[0] for _ in range(3)]
    assert {each.problem for each in results} == {"the answer to the last renewal was lost"}
    assert len(authority.posts("/token")) == 2
    row.refresh_from_db()
    assert (row.state, row.refresh_id) == (CredentialState.REFUSED, None)


def test_a_row_of_another_issuer_or_resource_sends_no_refresh_token(authority: Authority) -> None:
    row = kept(authority)
    Credential.objects.filter(pk=row.pk).update(
        token_endpoint="https://evil.example/token", issuer="https://evil.example"
    )
    assert renewed(row)[0].problem == "its tokens do not open"
    assert authority.posts("/token") == []


def test_nothing_is_sent_for_a_credential_that_is_gone_or_has_no_refresh_token(
    authority: Authority,
) -> None:
    row = kept(authority, refresh="")
    problem = "the authorization server gave nothing to renew it by"
    assert renewed(row)[0].problem == problem
    row.delete()
    assert renewed(Credential(pk=uuid.uuid4(), version=1))[0].problem == "it was disconnected"
    assert authority.posts("/token") == []
