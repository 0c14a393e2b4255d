"""What one navigator may do with the tools of a server."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from agent_runtime.messages import Permission
from caylex_project.accounts.models import Navigator
from caylex_project.integrations.models import ServerInstance, ToolPermission


def set_permissions(
    *, navigator: Navigator, instance: ServerInstance, wanted: Mapping[str, Permission]
) -> dict[str, tuple[Permission, Permission]]:
    """Set what is wanted by tool, leave the other tools alone, and return what it was and is.

    `always_execute` is kept as no row: that is what a tool without one may do.
    """
    changed = {}
    with transaction.atomic():
        rows = ToolPermission.objects.filter(navigator=navigator, instance=instance)
        kept = {row.tool: Permission(row.permission) for row in rows.select_for_update()}
        for tool, permission in wanted.items():
            before = kept.get(tool, Permission.ALWAYS_EXECUTE)
            if before is not permission:
                changed[tool] = (before, permission)
        rows.filter(tool__in=changed).delete()
        ToolPermission.objects.bulk_create(
            ToolPermission(
                navigator=navigator, instance=instance, tool=tool, permission=permission.value
            )
            for tool, (_, permission) in changed.items()
            if permission is not Permission.ALWAYS_EXECUTE
        )
    return changed
