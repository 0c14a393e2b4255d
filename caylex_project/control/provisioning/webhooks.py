"""What provisioning makes of webhooks, beside what `caylex_project.control.provisioning` makes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.db import transaction

from caylex_project.control.provisioning.apply import Provisioned, provision
from caylex_project.control.provisioning.document import Document
from tasks_app.models import WebhookEndpoint, WebhookSecret
from tasks_app.webhooks.secrets import make_secret, rotate_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedWebhooks:
    """The endpoints that the file names, and the secret where it was made just now."""

    endpoints: list[WebhookEndpoint]
    secret: str | None = field(repr=False)


def provision_all(
    document: Document,
    *,
    folder: Path,
    environ: Mapping[str, str],
    rotate_keys: bool,
    now: datetime.datetime,
) -> tuple[Provisioned, ProvisionedWebhooks]:
    """Make or update what the document names, all or nothing. Raises ProvisionRefused."""
    with transaction.atomic():
        made = provision(document, folder=folder, environ=environ, rotate_keys=rotate_keys, now=now)
        endpoints = [
            WebhookEndpoint.objects.update_or_create(
                project=made.project, url=each.url, defaults={"events": sorted(set(each.events))}
            )[0]
            for each in document.webhooks
        ]
        secret = None
        if rotate_keys:
            secret = rotate_secret(project=made.project, now=now)
        elif not WebhookSecret.objects.filter(project=made.project).exists():
            secret = make_secret(project=made.project)
    return made, ProvisionedWebhooks(endpoints=endpoints, secret=secret)
