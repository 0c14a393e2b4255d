"""`manage.py after_restore [--json]`: before the first start after a restore of the database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from caylex_project.db.server_time import database_now
from tasks_app.operations.restore import LiveTask, Restored, after_restore

NEXT = """\
Next:
  1. Start the web process. Cancel the tasks that must not be repeated, by the API or in the admin.
  2. Start `manage.py qcluster`.
  3. Resume the tenants in the admin."""


class Command(BaseCommand):
    """Pause all tenants, and list the live tasks with the calls that they would repeat."""

    help = (
        "Run it after a restore of the database, before the workers start: pauses every tenant and "
        "lists the tasks that have not ended, with the tool calls that they would repeat. "
        "Safe to repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--json`."""
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Pause and print."""
        restored = after_restore(now=database_now())
        if restored.living_workers:
            self.stderr.write(
                f"Warning: {restored.living_workers} workers run. Stop them until the list below "
                "has been looked at; they start nothing any more."
            )
        lines = [_as_json(restored)] if options["json"] else _as_text(restored)
        self.stdout.write("\n".join(lines))


def _as_json(restored: Restored) -> str:
    body = asdict(restored)
    for task, shown in zip(restored.tasks, body["tasks"], strict=True):
        for call, row in zip(task.calls, shown["calls"], strict=True):
            row["would"] = call.would
    return json.dumps(body, indent=2, default=str)


def _as_text(restored: Restored) -> Iterator[str]:
    yield f"Paused {_tenants(restored.paused)}."
    if restored.paused_before:
        yield f"Paused before: {_tenants(restored.paused_before)}."
    if restored.tasks:
        yield (
            f"{len(restored.tasks)} tasks have not ended. Each continues from the last step that "
            "the backup holds, and repeats what it did after that:"
        )
    else:
        yield "No task is live: nothing would be repeated."
    for task in restored.tasks:
        yield from _task(task)
    if restored.waiting_messages:
        yield (
            f"{restored.waiting_messages} webhook messages wait. They are sent under their old "
            "ids, some perhaps a second time."
        )
    if restored.unfinished_bulk_operations:
        yield f"{restored.unfinished_bulk_operations} bulk operations of staff would continue."
    yield NEXT


def _tenants(names: tuple[str, ...]) -> str:
    if not names:
        return "no tenant"
    return f"{len(names)} tenant{'' if len(names) == 1 else 's'}: {', '.join(names)}"


def _task(task: LiveTask) -> Iterator[str]:
    yield (
        f"  {task.id}  {task.tenant}/{task.project}  {_printable(task.user_email)}  {task.status}  "
        f"{task.steps} steps  submitted {task.created_at:%Y-%m-%d %H:%M:%S} UTC"
    )
    for call in task.calls:
        yield f"    {_printable(call.name)}: {call.would}"


def _printable(text: str) -> str:
    """Return what others wrote so that it cannot steer the terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)
