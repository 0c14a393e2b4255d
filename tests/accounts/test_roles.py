"""The groups of staff: what each may do, as a table."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

pytestmark = pytest.mark.django_db
GROUPS = ("support viewer", "support operator", "project admin")
#                                         viewer operator admin
MATRIX = {
    "tasks_app.view_agenttask": (True, True, True),
    "tasks_app.view_payload": (False, True, False),
    "tasks_app.view_step": (False, True, False),
    "tasks_app.view_toolcall": (False, True, False),
    "tasks_app.change_agenttask": (False, True, False),
    "tasks_app.add_agenttask": (False, False, False),
    "tasks_app.delete_agenttask": (False, False, False),
    "accounts.view_auditentry": (True, True, True),
    "accounts.change_auditentry": (False, False, False),
    "accounts.add_navigatorkey": (False, False, True),
    "accounts.change_navigatorkey": (False, False, True),
    "accounts.add_platformtoken": (False, False, True),
    "integrations.add_credential": (False, False, True),
    "integrations.change_credential": (False, False, True),
    "accounts.change_staffscope": (False, False, False),
    "auth.change_user": (False, False, False),
    "auth.change_group": (False, False, False),
}


@pytest.mark.parametrize("permission", MATRIX)
def test_each_group_may_do_what_the_table_says(permission: str) -> None:
    users = [User.objects.create_user(name, is_staff=True) for name in GROUPS]
    for user in users:
        user.groups.add(Group.objects.get(name=user.username))

    assert tuple(user.has_perm(permission) for user in users) == MATRIX[permission]
