"""Views of the connect page. Opening one changes nothing but the browser's own visit."""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from csp.decorators import csp_update
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from agent_runtime.oauth.clients import client_document
from agent_runtime.oauth.errors import OAuthError
from caylex_project.accounts.end_users import EmailRefused
from caylex_project.connect.page import Row, rows_of, status_line
from caylex_project.integrations.connecting import (
    CALLBACK_PATH,
    CLIENT_DOCUMENT_PATH,
    ConnectRefused,
    callback_url,
    come_back,
    owner_of,
    send_out,
)
from caylex_project.integrations.credentials import CredentialRefused, store_credential
from caylex_project.integrations.disconnecting import disconnect as end_connection
from caylex_project.integrations.email_proof import NoMail, check_code, needs_proof, send_code
from caylex_project.integrations.links import begin_visit, count_use, find_link, find_visit
from caylex_project.integrations.models import AuthKind, LinkVisit, ServerInstance
from caylex_project.integrations.tool_discovery import list_tools
from tasks_app.operations.connections import wake_waiting

VISIT_COOKIE = "caylex_visit"
STATE_COOKIE = "caylex_oauth"
MAX_CALLBACK_VALUE = 4096  # characters of one parameter
GONE = "This link has ended or is not complete. Ask for a new one."
VALUE_KINDS = (AuthKind.BEARER, AuthKind.HEADER, AuthKind.QUERY, AuthKind.PATH)

log = structlog.get_logger(__name__)
View = Callable[..., HttpResponse]


def _page(view: View) -> View:
    """Give a view what all of them share: no cache, and forms that may lead to other hosts.

    Chromium applies `form-action` to each redirect after a form, and *Connect* redirects to an
    authorization server whose address is not known before.
    """
    elsewhere = ["https:"]
    if settings.ENVIRONMENT.caylex_private_networks:
        elsewhere.append("http:")
    widened = csp_update({"form-action": elsewhere})(view)
    return never_cache(cast("View", widened))


def _visited(view: View) -> View:
    """Call the view with the visit of the browser's cookie, or say that the link has ended."""

    @functools.wraps(view)
    def with_visit(request: HttpRequest, link_id: uuid.UUID, **more: Any) -> HttpResponse:
        cookie = request.COOKIES.get(VISIT_COOKIE, "")
        visit = find_visit(link_id, cookie, now=_now())
        if visit is None:
            return _message(request, GONE, status=404)
        return view(request, visit, **more)

    return with_visit


def _proven(view: View) -> View:
    """Call the view once the visitor has proven the address; else show where to do that."""

    @functools.wraps(view)
    def with_proof(request: HttpRequest, visit: LinkVisit, **more: Any) -> HttpResponse:
        return (
            _ask_for_proof(request, visit) if needs_proof(visit) else view(request, visit, **more)
        )

    return with_proof


def _of_instance(view: View) -> View:
    """Call the view with one of the link's servers."""

    @functools.wraps(view)
    def with_instance(
        request: HttpRequest, visit: LinkVisit, instance_id: uuid.UUID
    ) -> HttpResponse:
        found = visit.link.instances.select_related("server").filter(pk=instance_id).first()
        if found is None:
            return _message(request, GONE, status=404)
        return view(request, visit, found)

    return with_instance


@_page
@require_GET
def open_link(request: HttpRequest, token: str) -> HttpResponse:
    """Exchange a link's token for a cookie, and lead to an address that does not hold it."""
    now = _now()
    link = find_link(token, now=now)
    if link is None:
        return _message(request, GONE, status=404)
    visit, cookie = begin_visit(link, now=now)
    path = reverse("connect", args=[link.pk])
    response = _see_other(path)
    _set_cookie(response, request, VISIT_COOKIE, cookie, path=path, until=visit.expires_at - now)
    return response


@_page
@require_GET
@_visited
@_proven
def show(request: HttpRequest, visit: LinkVisit) -> HttpResponse:
    """Show the servers of the link, and how each stands."""
    return _show(request, visit)


@_page
@require_POST
@_visited
def send(request: HttpRequest, visit: LinkVisit) -> HttpResponse:
    """Mail a code; the answer is the same whether one was sent."""
    address = str(request.POST.get("email", ""))[:300].strip()
    try:
        send_code(visit, address=address, now=_now())
    except NoMail as refused:
        return _ask_for_proof(request, visit, problem=str(refused), status=503)
    except EmailRefused as refused:
        return _ask_for_proof(request, visit, problem=str(refused), status=400)
    return _ask_for_proof(request, visit, sent_to=address)


@_page
@sensitive_post_parameters("code")
@require_POST
@_visited
def prove(request: HttpRequest, visit: LinkVisit) -> HttpResponse:
    """Take the code that was mailed."""
    if check_code(visit, code=str(request.POST.get("code", ""))[:40], now=_now()):
        return _back(visit)
    return _ask_for_proof(
        request, visit, problem="This code is not right, or has ended.", code_asked=True, status=400
    )


@_page
@require_POST
@_visited
@_proven
@_of_instance
def connect(request: HttpRequest, visit: LinkVisit, instance: ServerInstance) -> HttpResponse:
    """Send the browser to the server's authorization server."""
    if instance.server.auth_kind != AuthKind.OAUTH2:
        return _message(request, GONE, status=404)
    now = _now()
    try:
        sent = send_out(visit=visit, instance=instance, now=now)
    except (OAuthError, ConnectRefused) as refused:
        log.info("connect.refused", server=instance.server.name, reason=str(refused))
        return _show(request, visit, problem=str(refused), status=502)
    response = _see_other(sent.url)
    life = datetime.timedelta(minutes=10)
    _set_cookie(response, request, STATE_COOKIE, sent.cookie, path=CALLBACK_PATH, until=life)
    return response


@_page
@sensitive_post_parameters("value")
@require_POST
@_visited
@_proven
@_of_instance
def keep(request: HttpRequest, visit: LinkVisit, instance: ServerInstance) -> HttpResponse:
    """Keep a key that the visitor typed."""
    if instance.server.auth_kind not in VALUE_KINDS:
        return _message(request, GONE, status=404)
    try:
        person = owner_of(visit, instance)
        with transaction.atomic():
            if not count_use(visit):
                raise ConnectRefused("This link has been used. Nothing was stored.")
            credential = store_credential(
                instance=instance, end_user=person, value=str(request.POST.get("value", "")).strip()
            )
            wake_waiting(credential, now=_now())
    except (CredentialRefused, ConnectRefused) as refused:
        return _show(request, visit, problem=str(refused), status=400)
    return _back(visit)


@_page
@require_POST
@_visited
@_proven
@_of_instance
def test(request: HttpRequest, visit: LinkVisit, instance: ServerInstance) -> HttpResponse:
    """Ask the server for its tools with the credential that is kept."""
    try:
        person = owner_of(visit, instance)
    except ConnectRefused as refused:
        return _show(request, visit, problem=str(refused), status=403)
    listed = list_tools(instance=instance, end_user=person)
    return _show(request, visit, tested=Tested(instance_id=instance.pk, **_told(listed)))


@_page
@require_POST
@_visited
@_proven
@_of_instance
def disconnect(request: HttpRequest, visit: LinkVisit, instance: ServerInstance) -> HttpResponse:
    """Forget a credential, and tell its authorization server where it can be told."""
    try:
        end_connection(instance=instance, end_user=owner_of(visit, instance))
    except ConnectRefused as refused:
        return _show(request, visit, problem=str(refused), status=403)
    return _back(visit)


@_page
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Take the browser back from an authorization server."""
    answer = {k: str(v)[:MAX_CALLBACK_VALUE] for k, v in request.GET.items()}
    now = _now()
    try:
        row = come_back(
            state=answer.get("state", ""),
            cookie=request.COOKIES.get(STATE_COOKIE, ""),
            answer=answer,
            now=now,
            on_stored=lambda credential: wake_waiting(credential, now=now),
        )
    except (OAuthError, ConnectRefused) as refused:
        log.info("connect.answer_refused", reason=str(refused))
        response = _message(request, str(refused), status=400)
    else:
        response = _back(row.visit)
    response.delete_cookie(STATE_COOKIE, path=CALLBACK_PATH)
    return response


@require_GET
def client_metadata(request: HttpRequest) -> JsonResponse:
    """Describe us to authorization servers that take an address for a client id."""
    try:
        redirect_uri = callback_url()
    except OAuthError as refused:
        return JsonResponse({"error": str(refused)}, status=404)
    client_id = redirect_uri.removesuffix(CALLBACK_PATH) + CLIENT_DOCUMENT_PATH
    return JsonResponse(client_document(client_id=client_id, redirect_uri=redirect_uri))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """What *Test* found on one server."""

    instance_id: uuid.UUID
    tools: tuple[str, ...] = ()
    problem: str = ""


def _told(listed: Any) -> dict[str, Any]:
    names = tuple(str(each["name"])[:100] for each in listed.tools)
    return {"tools": names, "problem": listed.problem}


def _show(
    request: HttpRequest,
    visit: LinkVisit,
    *,
    problem: str = "",
    tested: Tested | None = None,
    status: int = 200,
) -> HttpResponse:
    rows: list[Row] = rows_of(visit)
    context = {
        "link": visit.link,
        "address": visit.address,
        "rows": rows,
        "status": status_line(rows),
        "problem": problem,
        "tested": tested,
    }
    return render(request, "connect/page.html", context, status=status)


def _ask_for_proof(
    request: HttpRequest,
    visit: LinkVisit,
    *,
    problem: str = "",
    sent_to: str = "",
    code_asked: bool = False,
    status: int = 200,
) -> HttpResponse:
    context = {
        "link": visit.link,
        "problem": problem,
        "sent_to": sent_to,
        "code_asked": code_asked or bool(sent_to),
    }
    return render(request, "connect/prove.html", context, status=status)


def _message(request: HttpRequest, text: str, *, status: int) -> HttpResponse:
    return render(request, "connect/message.html", {"text": text}, status=status)


def _back(visit: LinkVisit) -> HttpResponse:
    return _see_other(reverse("connect", args=[visit.link_id]))


def _see_other(url: str) -> HttpResponse:
    return HttpResponse(status=303, headers={"Location": url})


def _set_cookie(
    response: HttpResponse,
    request: HttpRequest,
    name: str,
    value: str,
    *,
    path: str,
    until: datetime.timedelta,
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max(1, int(until.total_seconds())),
        path=path,
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
