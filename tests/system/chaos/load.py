"""The load of a chaos run: tasks submitted without pause, as a backend would, with lulls."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ

from caylex_project.accounts.models import Navigator
from tasks_app.models import AgentTask
from tasks_app.operations.submit import Submission, submit
from tasks_app.states import TERMINAL
from tests.system.chaos.rows import insist
from tests.system.chaos.scenario import Script

MAX_OPEN = 120  # tasks that have not ended; above that the load waits
BURST = 40  # tasks after which there is a lull, so that workers fall idle
LULL = 6.0  # seconds


class Load(threading.Thread):
    """Submits the scripts one by one over `seconds`. With `bells_lost` set no knock is heard."""

    def __init__(self, *, scripts: Sequence[Script], seconds: float, seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self.bells_lost = threading.Event()
        self.submitted: list[Script] = []
        self.failure: Exception | None = None
        self._scripts = scripts
        self._seconds = seconds
        self._dice = random.Random(f"{seed}/load")
        self._enough = threading.Event()

    def stop(self) -> None:
        """Submit no more, and wait for the last."""
        self._enough.set()
        self.join(90)

    def run(self) -> None:
        """Keep the pace, and tell of a failure instead of ending in silence."""
        try:
            self._submit_all()
        except Exception as failure:  # noqa: BLE001  (a thread's edge: the run looks at it)
            self.failure = failure
        finally:
            connection.close()

    def _submit_all(self) -> None:
        navigators = insist(lambda: list(Navigator.objects.select_related("project")))
        lulls = len(self._scripts) // BURST * LULL
        pause = max(0.0, self._seconds - lulls) / len(self._scripts)
        for number, script in enumerate(self._scripts):
            while insist(_open_tasks) >= MAX_OPEN and not self._enough.is_set():
                time.sleep(0.2)
            if self._enough.is_set():
                return
            navigator = self._dice.choice(navigators)
            self.submitted.append(script)
            insist(lambda s=script, n=navigator: self._submit_once(s, n))  # type: ignore[misc]
            lull = LULL if number % BURST == BURST - 1 else 0.0
            self._enough.wait(self._dice.uniform(0, 2 * pause) + lull)

    def _submit_once(self, script: Script, navigator: Navigator) -> None:
        """Submit, unless an earlier try got through whose answer was lost."""
        if AgentTask.objects.filter(prompt=script.prompt).exists():
            return
        submission = Submission(
            user_email=f"user-{self._dice.randint(1, 5)}@example.com", prompt=script.prompt
        )
        with transaction.atomic():
            made = submit(navigator=navigator, submission=submission, now=timezone.now())
            if self.bells_lost.is_set():
                OrmQ.objects.filter(payload__isnull=False).delete()
        assert made.model_warning is None


def _open_tasks() -> int:
    return AgentTask.objects.exclude(status__in=TERMINAL).count()
