"""Auth links: made, found by their token, opened by a browser, ended."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from caylex_project.accounts.end_users import EmailRefused, normalise_email
from caylex_project.accounts.models import Project
from caylex_project.integrations.models import (
    AuthKind,
    AuthLevel,
    AuthLink,
    LinkKind,
    LinkVisit,
    ServerInstance,
)
from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal

DEFAULT_LIFE = datetime.timedelta(days=7)
MAX_LIFE = datetime.timedelta(days=90)
TASK_LIFE = datetime.timedelta(hours=24)
VISIT_LIFE = datetime.timedelta(hours=1)
KEPT = datetime.timedelta(days=1)  # after its end
PORTION = 1_000  # rows that are deleted at once
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+\Z")


class LinkRefused(ValueError):
    """The link cannot be made; `str()` is a sentence that is safe to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRequest:
    """What a link is to be. Exactly one of `email` and `email_domain`; no servers means all."""

    kind: LinkKind = LinkKind.USER
    email: str = ""
    email_domain: str = ""
    servers: tuple[str, ...] = ()
    expires_at: datetime.datetime | None = None


def make_link(
    *, project: Project, asked: LinkRequest, created_by: str, now: datetime.datetime
) -> tuple[AuthLink, str]:
    """Make a link; return its row and its token, which is shown this once.

    Raises LinkRefused.
    """
    email, domain = _address(asked)
    if (domain or project.prove_address) and not settings.SENDS_MAIL:
        raise LinkRefused(
            "Whoever opens this link would have to prove an address by mail, and this service "
            "sends none: its operator has to set EMAIL_URL."
        )
    instances = _instances(project, asked)
    expires_at = asked.expires_at or now + DEFAULT_LIFE
    if not now < expires_at <= now + MAX_LIFE:
        raise LinkRefused(f"A link ends in the future, within {MAX_LIFE.days} days.")
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        link = AuthLink.objects.create(
            project=project,
            kind=asked.kind,
            email=email,
            email_domain=domain,
            digest=digest_of(token),
            max_uses=1 if asked.kind is LinkKind.PROJECT else None,
            expires_at=expires_at,
            created_by=created_by[:150],
        )
        link.instances.set(instances)
    return link, token


def _address(asked: LinkRequest) -> tuple[str, str]:
    if bool(asked.email) == bool(asked.email_domain):
        raise LinkRefused("A link is for one address or for one e-mail domain: name one of them.")
    if asked.email:
        try:
            return normalise_email(asked.email), ""
        except EmailRefused as refused:
            raise LinkRefused(str(refused)) from None
    if asked.kind is LinkKind.PROJECT:
        raise LinkRefused("A project link is for one address.")
    domain = normalise_domain(asked.email_domain)
    return "", domain


def normalise_domain(text: str) -> str:
    """Return an e-mail domain in its ASCII form and lower case. Raises LinkRefused."""
    try:
        domain = text.strip().rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        domain = ""
    if not _DOMAIN.match(domain):
        raise LinkRefused("This is not an e-mail domain.")
    return domain


def _instances(project: Project, asked: LinkRequest) -> list[ServerInstance]:
    """Return the servers that the link connects, all that fit where none are named."""
    level = AuthLevel.PROJECT if asked.kind is LinkKind.PROJECT else AuthLevel.USER
    fitting = {
        each.server.name: each
        for each in ServerInstance.objects.filter(project=project, auth_level=level)
        .exclude(server__auth_kind=AuthKind.NONE)
        .select_related("server")
        .order_by("server__name")
    }
    unknown = [name for name in asked.servers if name not in fitting]
    if unknown:
        raise LinkRefused(
            f"No server of this project with credentials of {level} level is named {unknown[0]!r}."
        )
    chosen = [fitting[name] for name in dict.fromkeys(asked.servers)] or list(fitting.values())
    if not chosen:
        raise LinkRefused(f"This project has no server with credentials of {level} level.")
    return chosen


def connectable(project: Project, servers: Iterable[str]) -> list[str]:
    """Return those of the servers that each user of the project connects, by name."""
    names = list(servers)
    if not names:
        return []
    rows = ServerInstance.objects.filter(
        project=project, server__name__in=names, auth_level=AuthLevel.USER
    ).exclude(server__auth_kind=AuthKind.NONE)
    return list(rows.order_by("server__name").values_list("server__name", flat=True))


def link_of_task(
    *,
    project: Project,
    email: str,
    servers: Iterable[str],
    task_id: uuid.UUID,
    run_number: int,
    now: datetime.datetime,
) -> AuthLink:
    """Make the link of one run, bound to its user; a second call adds servers to it.

    Call it in the transaction that says what has to be connected.
    """
    token, row_id = secrets.token_urlsafe(32), uuid.uuid4()
    link, _ = AuthLink.objects.get_or_create(
        task_id=task_id,
        run_number=run_number,
        defaults={
            "id": row_id,
            "project": project,
            "kind": LinkKind.USER,
            "email": email,
            "digest": digest_of(token),
            "sealed": seal(token, row_id=row_id),
            "expires_at": now + TASK_LIFE,
            "created_by": "task",
        },
    )
    link.instances.add(
        *ServerInstance.objects.filter(
            project=project, server__name__in=list(servers), auth_level=AuthLevel.USER
        )
    )
    return link


def links_of_task(
    *, task_id: uuid.UUID, run_number: int, public_url: str, now: datetime.datetime
) -> dict[str, str]:
    """Return the address of a run's link by the name of each server that it connects.

    Empty once the link has ended, and while the service does not know its own address.
    """
    link = (
        AuthLink.objects.select_related("project__tenant")
        .filter(task_id=task_id, run_number=run_number)
        .first()
    )
    if link is None or not public_url or not is_live(link, now):
        return {}
    token = token_of(link)
    if token is None:
        return {}
    names = link.instances.values_list("server__name", flat=True)
    return dict.fromkeys(names, address_of(token, public_url=public_url))


def token_of(link: AuthLink) -> str | None:
    """Return the token of a task's link, so that a poll can repeat it; None where it has none."""
    if not link.sealed:
        return None
    try:
        return open_sealed(link.sealed, row_id=link.pk)
    except DoesNotOpen:
        return None


def address_of(token: str, *, public_url: str) -> str:
    """Return the address of a link's page."""
    return f"{public_url.rstrip('/')}/connect/{token}"


def is_live(link: AuthLink, now: datetime.datetime) -> bool:
    """True while a link can be used: not deleted, not expired, its project and tenant enabled."""
    project = link.project
    return (
        link.revoked_at is None
        and now < link.expires_at
        and project.disabled_at is None
        and project.tenant.disabled_at is None
    )


def find_link(token: str, *, now: datetime.datetime) -> AuthLink | None:
    """Return the live link of a token, or None; every other text is the same answer."""
    if not _TOKEN.match(token):
        return None
    found = AuthLink.objects.select_related("project__tenant").filter(digest=digest_of(token))
    link = found.first()
    if link is None or not is_live(link, now) or _is_used_up(link):
        return None
    return link


def _is_used_up(link: AuthLink) -> bool:
    return link.max_uses is not None and link.uses >= link.max_uses


def begin_visit(link: AuthLink, *, now: datetime.datetime) -> tuple[LinkVisit, str]:
    """Let a browser onto the page of a link; returns the visit and the value of its cookie."""
    cookie = secrets.token_urlsafe(32)
    visit = LinkVisit.objects.create(
        link=link,
        digest=digest_of(cookie),
        address=link.email,
        expires_at=min(now + VISIT_LIFE, link.expires_at),
        created_at=now,
    )
    return visit, cookie


def find_visit(link_id: uuid.UUID, cookie: str, *, now: datetime.datetime) -> LinkVisit | None:
    """Return the visit that a cookie belongs to, while it and its link last."""
    if not _TOKEN.match(cookie):
        return None
    visit = (
        LinkVisit.objects.select_related("link__project__tenant")
        .filter(digest=digest_of(cookie), link_id=link_id, expires_at__gt=now)
        .first()
    )
    return visit if visit is not None and is_live(visit.link, now) else None


def count_use(visit: LinkVisit) -> bool:
    """Count the first thing that a visit connects; False where the link is used up by others.

    Call it in the transaction that stores the credential.
    """
    if visit.counted:
        return True
    used = AuthLink.objects.filter(
        Q(max_uses__isnull=True) | Q(uses__lt=F("max_uses")), pk=visit.link_id
    ).update(uses=F("uses") + 1)
    if used:
        LinkVisit.objects.filter(pk=visit.pk).update(counted=True)
        visit.counted = True
    return bool(used)


def prune_links(*, now: datetime.datetime) -> None:
    """Delete visits and tasks' links that ended more than a day ago, a portion of each.

    Codes and states go with their visit; a day's codes are counted until then.
    """
    before = now - KEPT
    for ended in (
        LinkVisit.objects.filter(expires_at__lt=before),
        AuthLink.objects.filter(expires_at__lt=before, task_id__isnull=False),
    ):
        ids = list(ended.order_by("expires_at").values_list("pk", flat=True)[:PORTION])
        ended.model._default_manager.filter(pk__in=ids).delete()


def digest_of(text: str) -> str:
    """Return the digest under which a token, cookie or state of 256 random bits is kept."""
    return hashlib.sha256(text.encode()).hexdigest()


def same_digest(presented: str, kept: str) -> bool:
    """Compare a presented text with a kept digest, in constant time."""
    return hmac.compare_digest(digest_of(presented), kept)
