"""Forgetting a credential, and telling its authorization server."""

from __future__ import annotations

import asyncio

from agent_runtime.oauth.clients import Client
from agent_runtime.oauth.tokens import revoke
from caylex_project.accounts.models import EndUser
from caylex_project.integrations.connecting import oauth_http
from caylex_project.integrations.models import Credential, ServerInstance
from caylex_project.integrations.oauth_tokens import client_of, tokens_of
from caylex_project.integrations.sealing import DoesNotOpen


def disconnect(*, instance: ServerInstance, end_user: EndUser | None) -> bool:
    """Delete the credential, then revoke its tokens where that can be done; True if there was one.

    The row goes first: what the authorization server answers changes nothing for us.
    """
    row = (
        Credential.objects.select_related("client")
        .filter(instance=instance, end_user=end_user)
        .first()
    )
    if row is None:
        return False
    tokens = tokens_of(row) if row.client_id else None
    Credential.objects.filter(pk=row.pk).delete()
    if tokens is not None and row.client is not None and row.revocation_endpoint:
        try:
            client = client_of(row.client)
        except DoesNotOpen:
            return True
        asyncio.run(_revoke(row.revocation_endpoint, client, tokens.refresh or tokens.access))
    return True


async def _revoke(endpoint: str, client: Client, token: str) -> None:
    async with oauth_http() as http:
        await revoke(http, endpoint=endpoint, client=client, token=token)
