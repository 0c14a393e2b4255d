"""Runs send a token that is in force, and what cannot be renewed ends in one sentence."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.messages import CallState
from agent_runtime.oauth.clients import Client, ClientKind
from agent_runtime.oauth.tokens import TokenSet
from caylex_project.integrations.access import accesses_for
from caylex_project.integrations.bearer import in_a_thread
from caylex_project.integrations.credentials import CredentialRefused, store_credential
from caylex_project.integrations.models import Credential, CredentialState, Server
from caylex_project.integrations.oauth_tokens import Source, keep_client, store_tokens, tokens_of
from tests.integrations.test_server_pages import beside
from tests.support.factories import EndUserFactory, NavigatorFactory, ServerInstanceFactory
from tests.support.tool_servers import call, tools_of
from tests.unit.oauth.authority import Authority, an_authority
from tests.unit.oauth.resource import Resource, a_resource

pytestmark = pytest.mark.django_db(transaction=True)
JANE = "jane@example.com"
AT, RT = "at-jane-0-0-0-0", "rt-jane-0-0-0-0"


@pytest.fixture
def authority() -> Iterator[Authority]:
    with beside(an_authority()) as served:
        served.refresh_tokens[RT] = "jane"
        served.access_tokens[AT] = "jane"
        yield served


@pytest.fixture
def resource(authority: Authority) -> Iterator[Resource]:
    with beside(a_resource(authority)) as served:
        yield served


def kept(resource: Resource, *, ends_in: int | None = 3600, age: int = 600) -> Credential:
    """Return Jane's credential, issued `age` seconds ago."""
    authority = resource.authority
    instance = ServerInstanceFactory(
        server__name="tickets",
        server__auth_kind="oauth2",
        server__url=resource.url,
        auth_level="user",
    )
    client = keep_client(
        Client(issuer=authority.issuer, client_id="c", kind=ClientKind.DYNAMIC),
        tenant_id=instance.server.tenant_id,
        redirect_uri="x",
    )
    row = store_tokens(
        instance=instance,
        end_user=EndUserFactory(project=instance.project, email=JANE),
        tokens=TokenSet(access=AT, refresh=RT, expires_in=ends_in),
        source=Source(
            client=client,
            issuer=authority.issuer,
            resource=resource.url,
            token_endpoint=f"{authority.base}/token",
        ),
        now=timezone.now(),
    )
    issued = timezone.now() - datetime.timedelta(seconds=age)
    Credential.objects.filter(pk=row.pk).update(updated_at=issued)
    return row


def access_to(row: Credential) -> ServerAccess:
    navigator = NavigatorFactory(project=row.instance.project)
    assert row.end_user is not None
    (found,) = accesses_for(
        project=row.instance.project, navigator=navigator, end_user=row.end_user
    )
    return found


def searched(access: ServerAccess, times: int = 1) -> list[Any]:
    """Let `times` runs at once list the tools and search; returns state and result of each."""

    async def one() -> Any:
        async with tools_of(access) as tools:
            if tools.servers[0].problem:
                return tools.servers[0]
            return await call(tools, "search_tickets")

    async def all_at_once() -> list[Any]:
        return list(await asyncio.gather(*(one() for _ in range(times))))

    return asyncio.run(all_at_once())


def test_a_token_in_force_is_sent_as_it_is(resource: Resource) -> None:
    (result,) = searched(access_to(kept(resource)))
    assert result.state is CallState.SUCCEEDED
    assert set(resource.seen) == {AT}
    assert resource.authority.posts("/token") == []


def test_fifty_runs_whose_token_ends_soon_make_one_request_and_send_the_new_one(
    resource: Resource,
) -> None:
    resource.authority.token_delay = 0.3
    row = kept(resource, ends_in=30)
    accesses = [access_to(row) for _ in range(50)]

    async def one(access: ServerAccess) -> Any:
        async with tools_of(access, timeout=60) as tools:
            return await call(tools, "search_tickets")

    async def all_at_once() -> list[Any]:
        return list(await asyncio.gather(*map(one, accesses)))

    results = asyncio.run(all_at_once())
    assert {each.state for each in results} == {CallState.SUCCEEDED}
    assert len(resource.authority.posts("/token")) == 1
    assert AT not in resource.seen


def test_a_token_that_is_refused_before_its_end_is_renewed_once_and_the_call_succeeds(
    resource: Resource,
) -> None:
    access = access_to(kept(resource))
    del resource.authority.access_tokens[AT]
    (result,) = searched(access)
    assert result.state is CallState.SUCCEEDED
    assert len(resource.authority.posts("/token")) == 1


def test_a_server_that_refuses_every_token_costs_one_renewal(resource: Resource) -> None:
    resource.refuses_all = True
    row = kept(resource)
    for _ in range(3):
        (state,) = searched(access_to(row))
        assert state.problem == (
            "The server tickets cannot be used: it did not accept the credential."
        )
        assert state.needs_credential
    assert len(resource.authority.posts("/token")) == 1


def test_a_dead_refresh_token_is_authentication_needed_in_one_sentence(
    resource: Resource,
) -> None:
    resource.authority.refresh_tokens.clear()
    row = kept(resource, ends_in=0)
    (state,) = searched(access_to(row))
    assert state.needs_credential
    assert state.problem == (
        "The server tickets cannot be used: it has to be connected again "
        "(the authorization server no longer renews it)."
    )
    assert resource.seen == []
    row.refresh_from_db()
    assert row.state == CredentialState.REFUSED
    later = access_to(row)
    assert later.problem == (
        f"{JANE} must connect tickets again: the authorization server no longer renews it."
    )
    assert later.needs_credential
    assert len(resource.authority.posts("/token")) == 1


def test_while_the_authorization_server_is_away_the_token_is_used_to_its_end(
    resource: Resource,
) -> None:
    resource.authority.raw["/token"] = b"<html>"
    (result,) = searched(access_to(kept(resource, ends_in=50)))
    assert result.state is CallState.SUCCEEDED
    row = Credential.objects.get()
    Credential.objects.update(expires_at=timezone.now())
    row.refresh_from_db()
    (state,) = searched(access_to(row))
    assert state.problem == (
        "The server tickets cannot be used: its access token could not be renewed just now."
    )
    assert not state.needs_credential
    row.refresh_from_db()
    assert row.state == CredentialState.VALID


def test_a_run_that_is_given_up_in_the_middle_of_a_renewal_loses_no_refresh_token(
    resource: Resource,
) -> None:
    resource.authority.token_delay = 1.0
    row = kept(resource, ends_in=30)
    access = access_to(row)

    async def given_up() -> None:
        async with tools_of(access, timeout=0.3) as tools:
            assert "did not answer in time" in tools.servers[0].problem

    asyncio.run(given_up())
    row.refresh_from_db()
    tokens = tokens_of(row)
    assert tokens is not None
    assert tokens.refresh in resource.authority.refresh_tokens
    assert row.refresh_id is None


def test_a_renewed_token_is_scrubbed_from_what_comes_back(resource: Resource) -> None:
    access = access_to(kept(resource, ends_in=30))

    async def echoed() -> str:
        async with tools_of(access) as tools:
            token = await access.bearer.token()  # type: ignore[union-attr]
            result = await call(tools, "get_ticket", id=token)
            assert token not in result.text
            assert "[secret removed]" in result.text
            return token

    assert asyncio.run(echoed()) != AT


def moved(row: Credential) -> None:
    Server.objects.update(url="https://elsewhere.example/mcp")


def made_bearer(row: Credential) -> None:
    Server.objects.update(auth_kind="bearer")


@pytest.mark.parametrize("change", [moved, made_bearer])
def test_tokens_are_sent_to_no_other_address_and_in_no_other_way(
    resource: Resource, change: Callable[[Credential], None]
) -> None:
    row = kept(resource)
    change(row)
    row = Credential.objects.select_related("instance__server").get(pk=row.pk)
    access = access_to(row)
    assert access.problem == f"{JANE} must connect tickets first."
    assert not access.has_credential


def test_a_value_takes_the_place_of_tokens_and_tokens_that_of_a_value(resource: Resource) -> None:
    row = kept(resource)
    with pytest.raises(CredentialRefused, match="takes OAuth tokens, not a value"):
        store_credential(instance=row.instance, end_user=row.end_user, value="a-value-of-length")
    Server.objects.update(auth_kind="bearer")
    row.instance.server.refresh_from_db()
    store_credential(instance=row.instance, end_user=row.end_user, value="a-value-of-length")
    row.refresh_from_db()
    assert (row.issuer, row.client, row.expires_at) == ("", None, None)
    assert access_to(row).headers == {"Authorization": "Bearer a-value-of-length"}


def test_work_in_a_thread_leaves_no_connection_open() -> None:
    def count() -> int:
        return Credential.objects.count()

    assert asyncio.run(in_a_thread(count)) == 0
