"""Connecting one server by OAuth: the browser is sent out, comes back, and tokens are kept."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import ipaddress
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from pydantic import TypeAdapter

from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.oauth.clients import (
    Client,
    ClientKind,
    auth_method_of,
    document_client,
    register,
)
from agent_runtime.oauth.discovery import AuthorizationServer, Challenge, Discovered, discover
from agent_runtime.oauth.errors import ClientNeeded, GrantRefused, OAuthError
from agent_runtime.oauth.http import OAuthHttp
from agent_runtime.oauth.probe import challenge_of_server
from agent_runtime.oauth.tokens import (
    TokenSet,
    authorization_url,
    check_issuer,
    exchange,
    new_verifier,
)
from caylex_project.accounts.end_users import end_user
from caylex_project.accounts.models import EndUser
from caylex_project.integrations.links import count_use, digest_of, is_live, same_digest
from caylex_project.integrations.models import (
    AuthLevel,
    Credential,
    LinkVisit,
    OAuthClient,
    OAuthState,
    ServerInstance,
)
from caylex_project.integrations.oauth_tokens import Source, client_of, keep_client, store_tokens
from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal

CALLBACK_PATH = "/oauth/callback"
CLIENT_DOCUMENT_PATH = "/oauth/client.json"
STATE_LIFE = datetime.timedelta(minutes=10)
_SERVER = TypeAdapter(AuthorizationServer)


class ConnectRefused(Exception):
    """The visitor cannot connect; `str()` is a sentence for the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentOut:
    """Where the browser is sent, and the value of the cookie that it needs to come back."""

    url: str
    cookie: str


def owner_of(visit: LinkVisit, instance: ServerInstance) -> EndUser | None:
    """Return whose credential the visitor connects; None for the project's own.

    Raises ConnectRefused where that person may not, by now.
    """
    if instance.auth_level == AuthLevel.PROJECT:
        return None
    person = end_user(project=visit.link.project, email=visit.address)
    if person.disabled_at is not None:
        raise ConnectRefused("This account is disabled here.")
    return person


def send_out(
    *,
    visit: LinkVisit,
    instance: ServerInstance,
    scopes: tuple[str, ...] = (),
    now: datetime.datetime,
) -> SentOut:
    """Find the authorization server anew, make us known to it, and return where to send the user.

    Nothing is locked while the network is asked. Raises OAuthError and ConnectRefused.
    """
    person = owner_of(visit, instance)
    redirect_uri = callback_url()
    found = asyncio.run(_discover(instance, scopes))
    client_row = _client_for(instance, found, redirect_uri)
    client = _open_client(client_row)
    state, cookie, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(32), new_verifier()
    row_id = uuid.uuid4()
    OAuthState.objects.create(
        id=row_id,
        digest=digest_of(state),
        cookie_digest=digest_of(cookie),
        visit=visit,
        instance=instance,
        end_user=person,
        client=client_row,
        sealed=seal(verifier, row_id=row_id),
        server=dataclasses.asdict(found.server),
        server_url=instance.server.url,
        resource=found.resource,
        scopes=list(found.scopes),
        redirect_uri=redirect_uri,
        expires_at=now + STATE_LIFE,
    )
    url = authorization_url(
        server=found.server,
        client=client,
        redirect_uri=redirect_uri,
        state=state,
        verifier=verifier,
        resource=found.resource,
        scopes=found.scopes,
    )
    return SentOut(url=url, cookie=cookie)


async def _discover(instance: ServerInstance, scopes: tuple[str, ...]) -> Discovered:
    server = instance.server
    challenge = Challenge()
    if not scopes:
        challenge = await challenge_of_server(server.url, guard=_guard())
    async with oauth_http() as http:
        return await discover(
            http,
            server_url=server.url,
            challenge=challenge,
            expected_issuer=server.oauth_issuer,
            scopes=scopes or tuple(server.oauth_scopes),
        )


def _client_for(instance: ServerInstance, found: Discovered, redirect_uri: str) -> OAuthClient:
    """Return the client that is known there, or make one: by a document of ours, or registered."""
    known = _known_client(instance, found.server, redirect_uri)
    if known is not None:
        return known
    client = document_client(
        found.server,
        public_url=settings.ENVIRONMENT.caylex_public_url,
        path=CLIENT_DOCUMENT_PATH,
    )
    if client is None:
        client = asyncio.run(_register(found, redirect_uri))
    return keep_client(client, tenant_id=instance.server.tenant_id, redirect_uri=redirect_uri)


async def _register(found: Discovered, redirect_uri: str) -> Client:
    async with oauth_http() as http:
        return await register(
            http, server=found.server, redirect_uri=redirect_uri, scopes=found.scopes
        )


def _known_client(
    instance: ServerInstance, server: AuthorizationServer, redirect_uri: str
) -> OAuthClient | None:
    """Return the client that staff entered for this server, else one that we made before.

    Raises ClientNeeded where staff entered one for another authorization server.
    """
    entered = OAuthClient.objects.filter(server=instance.server).first()
    if entered is not None:
        if entered.issuer and entered.issuer != server.issuer:
            raise ClientNeeded(
                f"The client that is entered for {instance.server.name} belongs to "
                f"{entered.issuer}, and the server now names {server.issuer}: an administrator "
                "has to look at it."
            )
        return _as_known_there(entered, server)
    kinds = [ClientKind.DYNAMIC.value]
    if server.client_id_documents:
        kinds.insert(0, ClientKind.DOCUMENT.value)
    made = OAuthClient.objects.filter(
        tenant_id=instance.server.tenant_id,
        server=None,
        issuer=server.issuer,
        redirect_uri=redirect_uri,
        kind__in=kinds,
    )
    return made.order_by("kind").first()  # "document" before "dynamic"


def _as_known_there(entered: OAuthClient, server: AuthorizationServer) -> OAuthClient:
    """Return the client, with the way of showing its secret that its server takes."""
    if entered.auth_method != "none":
        method = auth_method_of(server, has_secret=True)
        if method != entered.auth_method:
            entered.auth_method = method
            entered.save(update_fields=["auth_method"])
    return entered


def _open_client(row: OAuthClient) -> Client:
    try:
        return client_of(row)
    except DoesNotOpen:
        raise ClientNeeded(
            "The client secret does not open any more: an administrator has to enter it again."
        ) from None


def come_back(
    *,
    state: str,
    cookie: str,
    answer: Mapping[str, str],
    now: datetime.datetime,
    on_stored: Callable[[Credential], None],
) -> OAuthState:
    """Take the answer of an authorization server; returns what the browser was sent out for.

    1. The state is used up, whatever comes of it. It must be one of ours, in time, and of the
       browser that holds the cookie: without that nothing is stored.
    2. The answer's issuer is compared before the code is redeemed.
    3. Link, project, user and server are looked at again, in the transaction that stores;
       `on_stored` runs in it.

    Raises ConnectRefused and OAuthError, each with a sentence for the page.
    """
    row = _use_state(state, cookie, now)
    server = _server_of(row)
    if "error" in answer:
        raise ConnectRefused(_refusal_sentence(answer["error"]))
    check_issuer(server, answer.get("iss"))
    tokens = _redeem(row, server, answer.get("code", ""))
    with transaction.atomic():
        person = _check_still_allowed(row, now)
        credential = store_tokens(
            instance=row.instance,
            end_user=person,
            tokens=tokens,
            source=Source(
                client=row.client,
                issuer=server.issuer,
                resource=row.resource,
                token_endpoint=server.token_endpoint,
                revocation_endpoint=server.revocation_endpoint,
                scopes=row.scopes,
            ),
            now=now,
        )
        on_stored(credential)
    return row


def _use_state(state: str, cookie: str, now: datetime.datetime) -> OAuthState:
    row = (
        OAuthState.objects.select_related(
            "visit__link__project__tenant", "instance__server", "client", "end_user"
        )
        .filter(digest=digest_of(state))
        .first()
    )
    if row is None or not cookie or not same_digest(cookie, row.cookie_digest):
        raise ConnectRefused(
            "This answer does not belong to this browser, or was used before. Open the link "
            "that you were sent and connect again. Nothing was stored."
        )
    used = OAuthState.objects.filter(pk=row.pk, used_at=None, expires_at__gt=now)
    if not used.update(used_at=now):
        raise ConnectRefused(
            "This answer came too late or was used before. Open the link and connect again."
        )
    return row


def _server_of(row: OAuthState) -> AuthorizationServer:
    return _SERVER.validate_python(row.server)


def _refusal_sentence(error: str) -> str:
    if error == "access_denied":
        return "Access was not granted, so nothing was connected."
    return "The authorization server could not grant access, so nothing was connected."


def _redeem(row: OAuthState, server: AuthorizationServer, code: str) -> TokenSet:
    if not 0 < len(code) <= 4096:
        raise ConnectRefused("The authorization server sent no code. Connect again.")
    try:
        verifier = open_sealed(row.sealed, row_id=row.pk)
    except DoesNotOpen:
        raise ConnectRefused("This took too long. Connect again.") from None
    try:
        return asyncio.run(_exchange(row, server, _open_client(row.client), code, verifier))
    except GrantRefused as refused:
        if refused.code in ("invalid_client", "unauthorized_client"):
            _forget_client(row.client)
        raise


async def _exchange(
    row: OAuthState, server: AuthorizationServer, client: Client, code: str, verifier: str
) -> TokenSet:
    async with oauth_http() as http:
        return await exchange(
            http,
            server=server,
            client=client,
            code=code,
            verifier=verifier,
            redirect_uri=row.redirect_uri,
            resource=row.resource,
        )


def _forget_client(row: OAuthClient) -> None:
    """Drop a registration that its server has forgotten: the next *Connect* makes a new one.

    Credentials that were got by it are renewed by it no more, so they keep its row.
    """
    if row.kind == ClientKind.DYNAMIC:
        OAuthClient.objects.filter(pk=row.pk).update(redirect_uri=f"forgotten {row.pk}")


def _check_still_allowed(row: OAuthState, now: datetime.datetime) -> EndUser | None:
    """Return whose credential it becomes. Raises ConnectRefused."""
    link = row.visit.link
    link.refresh_from_db()
    if not is_live(link, now):
        raise ConnectRefused("This link has ended meanwhile. Nothing was stored.")
    instance = ServerInstance.objects.select_related("server").filter(pk=row.instance_id).first()
    if instance is None or instance.server.url != row.server_url:
        raise ConnectRefused("The server has changed meanwhile. Open the link and connect again.")
    person = row.end_user
    if person is not None:
        person.refresh_from_db()
        if person.disabled_at is not None:
            raise ConnectRefused("This account is disabled here. Nothing was stored.")
    if not count_use(row.visit):
        raise ConnectRefused("This link has been used. Nothing was stored.")
    return person


def callback_url() -> str:
    """Return our redirect URI. Raises OAuthError where the operator has set no public address."""
    public_url = settings.ENVIRONMENT.caylex_public_url
    if not public_url:
        raise OAuthError(
            "This service does not know its public address: its operator has to set "
            "CAYLEX_PUBLIC_URL."
        )
    return f"{public_url.rstrip('/')}{CALLBACK_PATH}"


def oauth_http() -> OAuthHttp:
    """Return the way to authorization servers, as the settings permit it."""
    return OAuthHttp(guard=_guard(), http_allowed=_plain_http_is_allowed)


def _guard() -> AddressGuard:
    return AddressGuard.of(networks=settings.ENVIRONMENT.caylex_private_networks)


def _plain_http_is_allowed(host: str) -> bool:
    """True for an address in CAYLEX_PRIVATE_NETWORKS, and `localhost` where loopback is in it."""
    guard = _guard()
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return False
    return any(address in network for network in guard.private_networks)
