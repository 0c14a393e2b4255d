"""What a project's messages are signed with."""

from __future__ import annotations

import base64
import datetime
import secrets

import structlog
from django.db.models import Q

from caylex_project.accounts.models import Project
from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal
from tasks_app.models import WebhookSecret

PREFIX = "whsec_"
_BYTES = 32
OLD_SECRETS_LIVE = datetime.timedelta(hours=24)

log = structlog.get_logger(__name__)


def make_secret(*, project: Project) -> str:
    """Make a secret of the project and return it, `whsec_` and base64; shown this once."""
    value = PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()
    row = WebhookSecret(project=project)
    row.sealed = seal(value, row_id=row.pk)
    row.save(force_insert=True)
    return value


def rotate_secret(*, project: Project, now: datetime.datetime) -> str:
    """Make a new secret and return it; the older ones sign along for 24 hours more."""
    ends = now + OLD_SECRETS_LIVE
    older = WebhookSecret.objects.filter(project=project)
    older.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=ends)).update(expires_at=ends)
    return make_secret(project=project)


def live_secrets(*, project: Project, now: datetime.datetime) -> tuple[str, ...]:
    """Return all that messages are signed with now, the newest first; made on first need.

    One that does not open is left out.
    """
    rows = WebhookSecret.objects.filter(project=project)
    if not rows.exists():
        return (make_secret(project=project),)
    found = []
    for row in rows.exclude(expires_at__lte=now).order_by("-created_at"):
        try:
            found.append(open_sealed(row.sealed, row_id=row.pk))
        except DoesNotOpen:
            log.warning("webhook.secret_does_not_open", secret=str(row.pk))
    return tuple(found)
