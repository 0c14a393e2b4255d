"""What may be said of an address that wants to be told of tasks."""

from __future__ import annotations

from typing import Literal

from django.conf import settings

from agent_runtime.errors import AddressRefused
from agent_runtime.net.address_guard import AddressGuard

EndedEvent = Literal["agent_task.completed", "agent_task.incomplete", "agent_task.failed"]
NeededEvent = Literal["agent_task.authentication_needed"]
WebhookEvent = Literal[EndedEvent, NeededEvent]  # the latter is told only to who names it


class WebhookRefused(Exception):
    """The address cannot be told; `str()` is a sentence that is safe to show."""


def check_webhook_url(url: str) -> str | None:
    """Check an address before it is saved, and return a warning sentence or None.

    Blocks while the name is looked up. Raises WebhookRefused.
    """
    guard = AddressGuard.of(networks=settings.ENVIRONMENT.caylex_private_networks)
    if "#" in url:
        raise WebhookRefused("Leave out the part after '#'; it is never sent.")
    try:
        return guard.check_url(url, webhook=True)
    except AddressRefused as refused:
        raise WebhookRefused(str(refused)) from None
