"""What a new credential means for tasks that wait for it."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping

from caylex_project.accounts.models import EndUser
from caylex_project.integrations.access import version_of
from caylex_project.integrations.models import AuthLevel, Credential, CredentialState
from tasks_app.models import AWAITS_CONNECTION, AgentTask, Event
from tasks_app.notifications.changes import publish_changes
from tasks_app.notifications.wakeup import send_wakeup
from tasks_app.states import Status


def wake_waiting(credential: Credential, *, now: datetime.datetime) -> None:
    """Let the tasks that wait for this credential continue. Call it in the transaction that stores.

    A task waits only where it was submitted with `on_authentication: "wait"`. One that lacks
    another server, too, waits again.
    """
    if credential.end_user_id is None:
        return
    lock_people([credential.end_user_id])
    name = credential.instance.server.name
    waiting = AgentTask.objects.filter(
        AWAITS_CONNECTION,
        end_user=credential.end_user_id,
        project=credential.instance.project_id,
    )
    locked = waiting.select_for_update(no_key=True, of=("self",)).order_by("id")
    wake([task for task in locked if name in task.authentication_needed], now=now)


def wake(tasks: Iterable[AgentTask], *, now: datetime.datetime) -> None:
    """Make tasks due that wait for a connection. The caller has locked them."""
    for task in tasks:
        number = task.sequence + 1
        AgentTask.objects.filter(pk=task.pk).update(
            next_attempt_at=now, waiting_reason="", sequence=number
        )
        Event.objects.create(
            task=task,
            sequence=number,
            kind="connected",
            data={"status": Status.PENDING.value, "servers": task.authentication_needed},
            at=now,
        )
        send_wakeup(task_id=task.pk)
        publish_changes([task.pk])


def lock_people(end_user_ids: Iterable[uuid.UUID]) -> None:
    """Lock end users until the transaction ends, in the order of their ids.

    Who stores a credential and who writes that a task waits for one come one after the other.
    """
    people = EndUser.objects.filter(pk__in=set(end_user_ids)).order_by("pk")
    list(people.select_for_update(no_key=True).values_list("pk"))


def stored_since(task: AgentTask, seen: Mapping[str, str]) -> bool:
    """Tell whether one of the credentials that a run looked at has been stored again since."""
    rows = Credential.objects.select_related("instance__server").filter(
        end_user=task.end_user_id,
        instance__project=task.project_id,
        instance__auth_level=AuthLevel.USER,
        instance__server__name__in=list(seen),
        state=CredentialState.VALID,
    )
    return any(version_of(row) != seen[row.instance.server.name] for row in rows)
