"""Nothing new for whom or what is disabled."""

from __future__ import annotations

from caylex_project.accounts.models import EndUser, Project


class ScopeDisabled(Exception):
    """The tenant, project or end user is disabled; `str()` says which."""


def check_enabled(*, project: Project, end_user: EndUser | None = None) -> None:
    """Raise ScopeDisabled where nothing new may be asked for; `project` has its tenant loaded."""
    named = {"tenant": project.tenant, "project": project, "end user": end_user}
    for name, scope in named.items():
        if scope is not None and scope.disabled_at is not None:
            raise ScopeDisabled(f"The {name} is disabled.")
