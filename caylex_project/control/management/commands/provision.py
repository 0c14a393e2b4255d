"""`manage.py provision FILE.yaml [--json] [--rotate-keys]`; see docs/provisioning.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from caylex_project.control.provisioning.apply import Provisioned
from caylex_project.control.provisioning.document import ProvisionRefused, read_document
from caylex_project.control.provisioning.webhooks import ProvisionedWebhooks, provision_all
from caylex_project.db.clock import clock

_MADE_BEFORE = "made before; it is not shown again (--rotate-keys makes a new one)"


class Command(BaseCommand):
    """Make or update what a file names, in one transaction."""

    help = "Make or update the tenant, project, servers, credentials and skills that FILE names."

    def add_arguments(self, parser: CommandParser) -> None:
        """The file, and the two switches."""
        parser.add_argument("file", type=Path, metavar="FILE.yaml")
        parser.add_argument("--json", action="store_true", help="Print JSON, for programs.")
        parser.add_argument(
            "--rotate-keys",
            action="store_true",
            help="Make a new token, key and webhook secret; the old ones work for 24 hours more.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Provision and print what there is now; a mistake in the file changes nothing."""
        path: Path = options["file"]
        try:
            made, webhooks = provision_all(
                read_document(path),
                folder=path.resolve().parent,
                environ=os.environ,
                rotate_keys=options["rotate_keys"],
                now=clock.now(),
            )
        except ProvisionRefused as error:
            raise CommandError(f"{path}: nothing was changed.\n{error}") from None
        for warning in made.warnings:
            self.stderr.write(f"Warning: {warning}")
        self.stdout.write(
            json.dumps(as_json(made, webhooks)) if options["json"] else as_text(made, webhooks)
        )


def as_json(made: Provisioned, webhooks: ProvisionedWebhooks) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "tenant": made.tenant.name,
        "project": made.project.name,
        "project_id": str(made.project.pk),
        "platform_access_token": made.platform_access_token,
        "caylex_api_key": made.caylex_api_key,
        "webhook_secret": webhooks.secret,
        "skills": [{"id": str(each.pk), "slug": each.slug} for each in made.skills],
        "skipped_skills": [each._asdict() for each in made.skipped],
        "servers": [{"id": str(each.pk), "name": each.name} for each in made.servers],
        "webhooks": [{"id": str(each.pk), "url": each.url} for each in webhooks.endpoints],
    }


def as_text(made: Provisioned, webhooks: ProvisionedWebhooks) -> str:
    """Return what is printed for a person."""
    lines = [
        f"tenant                {made.tenant.name}",
        f"project               {made.project.name} ({made.project.pk})",
        f"navigator             {made.navigator.name}",
        f"platform access token {made.platform_access_token or _MADE_BEFORE}",
        f"caylex_api_key        {made.caylex_api_key or _MADE_BEFORE}",
        f"webhook secret        {webhooks.secret or _MADE_BEFORE}",
        *(f"server                {each.name} ({each.pk})" for each in made.servers),
        *(f"skill                 {each.slug} ({each.pk})" for each in made.skills),
        *(f"skipped skill         {each.path}: {each.why}" for each in made.skipped),
        *(f"webhook               {each.url} ({each.pk})" for each in webhooks.endpoints),
    ]
    if made.platform_access_token or made.caylex_api_key or webhooks.secret:
        lines.append("Keep the new secrets now: they are never shown again.")
    return "\n".join(lines)
