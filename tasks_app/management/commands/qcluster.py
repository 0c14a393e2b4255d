"""`manage.py qcluster`: django-q2's command and options, around processes that can die."""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error, connections
from django_q.management.commands.qcluster import Command as StockCommand

from caylex_project.db.outage import is_outage
from tasks_app.monitoring import system_checks
from tasks_app.monitoring.stats import unapplied_migrations
from tasks_app.worker.process import worker_process
from tasks_app.worker.process.supervisor import Supervisor

QUARANTINE = "quarantine"  # a queue in which nobody knocks: that worker looks by itself


class Command(StockCommand):  # type: ignore[misc]
    """Keep CAYLEX_WORKERS small clusters, each one process, and one more for the quarantine.

    See docs/architecture.md.

    Exit codes: 0 after SIGTERM or SIGINT and a drain, 1 when the database lacks migrations, 71 when
    work was broken off (a second signal, or a drain that took too long), 70 when a small cluster
    keeps dying.
    """

    help = "Runs the workers: CAYLEX_WORKERS processes, each with an engine of its own."

    requires_system_checks = [system_checks.TAG]

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until told to stop."""
        _check_migrations()
        queue_name = options["cluster_name"]
        if queue_name:
            os.environ["Q_CLUSTER_NAME"] = queue_name
        environment = settings.ENVIRONMENT

        def child(control_fd: int, *, quarantine: bool = False) -> int:
            return worker_process.run(
                control_fd=control_fd,
                queue_name=QUARANTINE if quarantine else queue_name,
                drain_seconds=environment.caylex_drain_seconds,
                once=options["run_once"],
                quarantine=quarantine,
            )

        # What the parent has loaded is shared by all; the collector must not touch it.
        worker_process.engine_module()
        connections.close_all()
        gc.collect()
        gc.freeze()
        code = Supervisor(
            count=environment.workers,
            child=child,
            isolated=partial(child, quarantine=True),
            drain_seconds=environment.caylex_drain_seconds,
            replace=not options["run_once"],
        ).run()
        sys.exit(code)


def _check_migrations() -> None:
    """Raise CommandError where the database lacks migrations; while it is away workers may wait."""
    try:
        missing = unapplied_migrations()
    except Error as error:
        if is_outage(error):
            return
        raise
    if missing:
        raise CommandError(
            f"The database lacks {len(missing)} migrations, the first is {missing[0]}. "
            "Run `manage.py migrate`."
        )
