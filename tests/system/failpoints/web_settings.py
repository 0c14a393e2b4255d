"""The service's settings for a web process that dies at its first commit; `FAILPOINT` is when."""

from __future__ import annotations

import os

from django.db.backends.base.base import BaseDatabaseWrapper

from caylex_project.settings import *  # noqa: F403
from tests.system.failpoints.switch import Failpoints, Moment

DIED = 66


def _die() -> None:
    os._exit(DIED)


_failpoints = Failpoints(number=0, moment=Moment(os.environ["FAILPOINT"]), die=_die)
setattr(  # noqa: B010
    BaseDatabaseWrapper, "commit", _failpoints.at("commit", BaseDatabaseWrapper.commit)
)
