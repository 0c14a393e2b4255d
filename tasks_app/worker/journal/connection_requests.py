"""What goes along with the commit by which a run asks its user to connect servers."""

from __future__ import annotations

from collections.abc import Sequence

from caylex_project.integrations.links import link_of_task
from tasks_app.models import AgentTask
from tasks_app.operations.connections import lock_people, stored_since, wake
from tasks_app.webhooks.outbox import tell_authentication_needed
from tasks_app.worker.journal.entries import Entry


def ask_to_connect(entries: Sequence[Entry]) -> None:
    """Make each run's link, tell its webhooks, and wake it where it waits for nothing any more.

    Within the transaction that wrote the entries. Their users are locked, so that no connection
    is overlooked: one that was stored before the lock is seen here, and whoever stores one later
    sees the task that waits.
    """
    by_id = {entry.task_id: entry for entry in entries}
    tasks = AgentTask.objects.select_related("project", "end_user").filter(pk__in=by_id)
    lock_people([task.end_user_id for task in tasks])
    for task in tasks:
        entry = by_id[task.pk]
        asked = entry.connecting
        assert asked is not None
        if asked.seen:
            link_of_task(
                project=task.project,
                email=task.end_user.email,
                servers=asked.seen,
                task_id=task.pk,
                run_number=asked.run_number,
                now=entry.at,
            )
        tell_authentication_needed(task, now=entry.at)
        if task.awaits_connection and stored_since(task, asked.seen):
            wake([task], now=entry.at)
