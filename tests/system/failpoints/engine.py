"""The engine with a failpoint at every commit: what `settings.CAYLEX_ENGINE` names.

`FAILPOINT` is like `write:after:3`: the kind of commit, the moment, and which of that kind, from
0 in each process. `FAILPOINT_DONE` is a file that whoever dies makes first: nobody dies twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tasks_app.worker import engine
from tasks_app.worker.claiming.claim import claim_due
from tasks_app.worker.engine import Engine, install
from tasks_app.worker.journal import journal
from tasks_app.worker.maintenance import sweep
from tasks_app.worker.maintenance.reclaim import end_worker
from tasks_app.worker.process.lease import register
from tests.system.failpoints.switch import Failpoints, Moment

__all__ = ["DIED", "Engine", "install"]

DIED = 66
KIND, MOMENT, NUMBER = os.environ.get("FAILPOINT", "::").split(":")


def _die_once() -> None:
    try:
        os.close(os.open(os.environ["FAILPOINT_DONE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os._exit(DIED)


def _only_with_work(claim: Callable[..., Any], guarded: Callable[..., Any]) -> Callable[..., Any]:
    """Count only claims while there is something to claim: every process looks all the time."""

    def look(*args: Any, **kwargs: Any) -> Any:
        from tasks_app.models import AgentTask

        waiting = AgentTask.objects.filter(status="PENDING").exists()
        return (guarded if waiting else claim)(*args, **kwargs)

    return look


def _arm() -> None:
    failpoints = Failpoints(number=int(NUMBER), moment=Moment(MOMENT), die=_die_once)
    match KIND:
        case "write":
            defaults = journal.Journal.__init__.__kwdefaults__
            assert defaults is not None
            defaults["write"] = failpoints.at(KIND, defaults["write"])
        case "claim":
            guarded = failpoints.at(KIND, claim_due)
            setattr(engine, "claim_due", _only_with_work(claim_due, guarded))  # noqa: B010
        case "end":
            setattr(engine, "end_worker", failpoints.at(KIND, end_worker))  # noqa: B010
        case "register":
            setattr(engine, "register", failpoints.at(KIND, register))  # noqa: B010
        case "sweep":
            setattr(sweep, "sweep", failpoints.at(KIND, sweep.sweep))  # noqa: B010


if KIND:
    _arm()
