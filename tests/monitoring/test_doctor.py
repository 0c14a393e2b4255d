"""`manage.py doctor`: each thing that can be wrong, how bad it is, and what it says to do."""

from __future__ import annotations

import datetime
import io
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from caylex_project import VERSION
from caylex_project.db.options import RECEIVED
from caylex_project.integrations.models import Credential
from caylex_project.integrations.sealing import seal
from tasks_app.models import AgentTask, Worker
from tasks_app.monitoring import diagnose
from tasks_app.states import Status, WorkerState
from tasks_app.worker.process.identity import this_machine
from tests.support.factories import (
    AgentTaskFactory,
    ServerInstanceFactory,
    StepFactory,
    ToolCallFactory,
    WorkerFactory,
)

ROOT = Path(__file__).resolve().parent.parent.parent
SECOND = datetime.timedelta(seconds=1)
DAY = datetime.timedelta(days=1)


def doctor(*arguments: str) -> tuple[int, str]:
    """Return the exit code and what was printed."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("doctor", *arguments, stdout=out)
    return int(str(caught.value.code)), out.getvalue()


def found() -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code and the findings by their codes."""
    code, text = doctor("--json")
    body = json.loads(text)
    assert body["exit_code"] == code
    return code, {each["code"]: each for each in body["findings"]}


def only(expected: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the one finding, which must be the expected one."""
    code, findings = found()
    assert list(findings) == [expected]
    return code, findings[expected]


def running(worker: Worker, **values: Any) -> AgentTask:
    task: AgentTask = AgentTaskFactory.create(status=Status.RUNNING, worker=worker, **values)
    return task


def test_a_service_in_good_order_is_fine(worker: Worker) -> None:
    code, text = doctor()
    assert code == 0
    assert text.rstrip().endswith("Nothing is wrong.")
    lines = [line.split() for line in text.splitlines()]
    assert ["due", "0", "the", "oldest", "for", "0", "s"] in lines
    (row,) = [line for line in lines if line[:1] == ["elsewhere"]]
    assert row[1:4] == ["1", VERSION, "alive"]
    assert row[-2:] == ["0", "10"]


def test_it_changes_nothing_and_reads_no_task_one_by_one(worker: Worker) -> None:
    for _ in range(5):
        running(worker)
        AgentTaskFactory.create(next_attempt_at=timezone.now() - 90 * SECOND)
    with CaptureQueriesContext(connection) as queries:
        doctor()
    assert len(queries) < 25
    for each in queries:
        assert not re.search(r"\b(INSERT|UPDATE|DELETE|LOCK)\b", each["sql"]), each["sql"]


def test_no_worker_is_critical_even_when_nothing_is_due(db: None) -> None:
    code, finding = only("no_worker")
    assert (code, finding["level"]) == (2, "critical")
    assert finding["what"] == "No worker claims tasks: none is there."
    assert finding["advice"].startswith("Start `manage.py qcluster`")


def test_a_draining_worker_is_named_as_the_reason(db: None) -> None:
    WorkerFactory.create(state=WorkerState.DRAINING)
    code, finding = only("no_worker")
    assert code == 2
    assert finding["what"] == "No worker claims tasks: elsewhere:1 drain or are late."


def test_a_process_of_this_machine_that_has_ended_is_told_apart(db: None) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    WorkerFactory.create(
        state=WorkerState.DRAINING, machine=this_machine(), host="here", pid=process.pid
    )
    _, finding = only("no_worker")
    assert finding["what"].endswith(f"the processes of here:{process.pid} have ended.")


def test_a_worker_that_nobody_buries_and_its_tasks_are_told(worker: Worker) -> None:
    late = WorkerFactory.create(lease_until=timezone.now() - 60 * SECOND, version=VERSION, pid=7)
    task = running(late)
    running(worker)

    code, findings = found()

    assert code == 2
    assert set(findings) == {"expired_workers_not_declared_dead", "tasks_orphaned"}
    assert "elsewhere:7" in findings["expired_workers_not_declared_dead"]["what"]
    orphaned = findings["tasks_orphaned"]
    assert (orphaned["level"], orphaned["tasks"]) == ("warning", [str(task.id)])
    assert orphaned["what"] == "1 task are RUNNING without a live worker."


def test_orphaned_tasks_without_anybody_to_free_them_are_critical(db: None) -> None:
    running(WorkerFactory.create(state=WorkerState.DEAD, lease_until=timezone.now() - DAY))
    _, findings = found()
    assert findings["tasks_orphaned"]["level"] == "critical"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(5, None), (90, (1, "warning")), (400, (2, "critical"))]
)
def test_due_tasks_that_nobody_claims(
    worker: Worker, seconds: int, expected: tuple[int, str] | None
) -> None:
    now = timezone.now()
    task = AgentTaskFactory.create(next_attempt_at=now - seconds * SECOND)
    AgentTaskFactory.create(next_attempt_at=now)
    if expected is None:
        assert found() == (0, {})
        return
    code, finding = only("tasks_overdue")
    assert (code, finding["level"]) == expected
    assert finding["what"].startswith("2 tasks are due and not claimed, the oldest for ")
    assert finding["tasks"][0] == str(task.id)
    assert finding["advice"].startswith("Workers have places and do not claim")


def test_full_workers_are_the_reason_where_they_are(worker: Worker) -> None:
    Worker.objects.update(held=10)
    WorkerFactory.create(version=VERSION)  # the quarantine's, which takes none of these
    AgentTaskFactory.create(next_attempt_at=timezone.now() - 90 * SECOND)
    _, finding = only("tasks_overdue")
    assert finding["advice"].startswith("All places are taken: add workers")


def test_cancels_that_nobody_carries_out(worker: Worker) -> None:
    now = timezone.now()
    fresh = running(worker, cancel_requested_at=now)
    code, finding = only("tasks_stopping")
    assert (code, finding["level"]) == (0, "note")

    old = running(worker, cancel_requested_at=now - 30 * SECOND)
    code, finding = only("cancels_overdue")
    assert (code, finding["tasks"]) == (1, [str(old.id)])
    assert str(fresh.id) not in finding["tasks"]

    running(worker, cancel_requested_at=now - 90 * SECOND)
    code, finding = only("cancels_overdue")
    assert code == 2
    assert finding["what"].startswith("2 tasks were asked to stop and are not over")


def test_waiting_tasks_are_told_by_reason_and_persistence(worker: Worker) -> None:
    later = timezone.now() + 60 * SECOND
    for attempt in (1, 1):
        AgentTaskFactory.create(next_attempt_at=later, waiting_reason="Busy.", attempt=attempt)
    AgentTaskFactory.create(next_attempt_at=later)  # planned for later, no fault
    code, finding = only("tasks_waiting")
    assert (code, finding["level"]) == (0, "note")
    assert finding["what"] == "2 tasks wait for their next attempt (up to 1 made): Busy."

    AgentTaskFactory.create(next_attempt_at=later, waiting_reason="Down.", attempt=3)
    code, text = doctor()
    assert code == 1
    assert "WARNING: 1 task wait for their next attempt (up to 3 made): Down." in text
    assert text.index("Down.") < text.index("Busy.")  # the worst first


def test_what_a_provider_wrote_does_not_steer_the_terminal(worker: Worker) -> None:
    AgentTaskFactory.create(
        next_attempt_at=timezone.now() + 60 * SECOND,
        waiting_reason="\x1b[2Jgone\nNothing is wrong.",
    )
    _, text = doctor()
    assert "\x1b" not in text
    assert "?[2Jgone?Nothing is wrong." in text


def test_quarantined_tasks_are_named_the_worst_first(worker: Worker) -> None:
    mild, severe = (AgentTaskFactory.create(crashes=crashes) for crashes in (2, 5))
    AgentTaskFactory.create(crashes=1)
    code, finding = only("tasks_quarantined")
    assert code == 1
    assert finding["tasks"] == [str(severe.id), str(mild.id)]
    assert finding["what"].startswith("2 tasks are kept apart")


def test_workers_that_died_lately_and_no_others_are_counted(worker: Worker) -> None:
    WorkerFactory.create(state=WorkerState.DEAD)
    WorkerFactory.create(state=WorkerState.DEAD, lease_until=timezone.now() - DAY)
    WorkerFactory.create(state=WorkerState.GONE)
    code, finding = only("workers_died")
    assert code == 1
    assert finding["what"].startswith("1 workers died in the last hour")


def test_different_versions_are_a_warning(worker: Worker) -> None:
    WorkerFactory.create(version="0.0.9")
    code, finding = only("versions_differ")
    assert code == 1
    assert finding["what"] == f"The workers run different versions: 0.0.9, {VERSION}."


def test_knocks_that_pile_up_are_a_warning_that_says_that_no_task_is_late(worker: Worker) -> None:
    OrmQ.objects.bulk_create(OrmQ(key="caylex", payload="x") for _ in range(999))
    assert found() == (0, {})
    OrmQ.objects.create(key="caylex", payload="x")
    code, finding = only("wakeups_not_handled")
    assert code == 1
    assert finding["what"].startswith("1000 messages wait")
    assert "No task is late by that" in finding["advice"]


def test_outcomes_in_doubt_of_the_last_day_are_noted(worker: Worker) -> None:
    now = timezone.now()
    step = StepFactory.create(task=running(worker))
    lost = {"step": step, "state": "unknown_outcome", "result": "lost"}
    ToolCallFactory.create(**lost, completed_at=now)
    ToolCallFactory.create(**lost, completed_at=now)
    ToolCallFactory.create(**lost, completed_at=now - 2 * DAY)
    ToolCallFactory.create(step=step, state="failed", result="no", completed_at=now)
    code, finding = only("outcomes_in_doubt")
    assert (code, finding["level"]) == (0, "note")
    assert finding["what"].startswith("2 tool calls of the last 24 hours")
    assert finding["tasks"] == [str(step.task_id)]


def test_credentials_that_do_not_open_are_counted_and_not_shown(worker: Worker) -> None:
    for opens in (True, False):
        row_id = uuid.uuid4()
        Credential.objects.create(
            id=row_id,
            instance=ServerInstanceFactory.create(),
            sealed=seal("s3cret-value", row_id=row_id if opens else uuid.uuid4()),
        )
    code, finding = only("credentials_do_not_open")
    assert code == 1
    assert finding["what"].startswith("1 credentials open with none")
    assert "s3cret" not in doctor()[1]


def test_settings_that_disagree_are_findings_and_do_not_stop_it(worker: Worker) -> None:
    changed = settings.ENVIRONMENT.model_copy(update={"caylex_heartbeat_seconds": 20.0})
    with override_settings(ENVIRONMENT=changed):
        code, finding = only("caylex.E005")
    assert (code, finding["level"]) == (2, "critical")
    assert finding["advice"] == "A single late heartbeat would cost a healthy worker its tasks."


@pytest.mark.parametrize(
    ("offset", "error", "expected"),
    [(0.5, 0.0, None), (3.0, 2.5, None), (3.0, 0.1, 1), (-3.0, 0.1, 1), (400.0, 0.1, 1)],
)
def test_clocks_that_surely_differ(
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
    offset: float,
    error: float,
    expected: int | None,
) -> None:
    monkeypatch.setattr(diagnose, "_clock_offset", lambda: (offset, error))
    if expected is None:
        assert found() == (0, {})
        return
    code, finding = only("clocks_differ")
    assert code == expected
    side = "behind" if offset > 0 else "ahead of"
    assert finding["what"] == f"This machine's clock is {abs(offset):.1f} s {side} the database's."


def test_missing_migrations_are_critical_and_the_rest_is_left_alone(worker: Worker) -> None:
    last = MigrationRecorder.Migration.objects.filter(app="tasks_app").latest("id")
    last.delete()
    code, finding = only("migrations_missing")
    assert code == 2
    assert f"tasks_app.{last.name}" in finding["what"]
    assert finding["advice"] == "Run `manage.py migrate`."
    assert json.loads(doctor("--json")[1])["figures"] is None


def test_a_database_that_is_away_is_one_sentence_and_critical(database_away: None) -> None:
    code, text = doctor()
    assert code == 2
    assert text.startswith("CRITICAL: The database does not answer: ")
    assert "Traceback" not in text
    code, _ = only("database_away")
    assert code == 2


def test_the_real_command_ends_with_the_code_and_prints_json(tmp_path: Path) -> None:
    variables = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"}
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert [each["code"] for each in json.loads(done.stdout)["findings"]] == ["migrations_missing"]


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("setting", "value", "code", "level"),
    [
        ("default_transaction_isolation", "serializable", "session_settings", "critical"),
        ("intervalstyle", "iso_8601", "session_settings", "critical"),
        ("datestyle", "German", "session_settings", "critical"),
        ("standard_conforming_strings", "off", "session_settings", "critical"),
        ("synchronous_commit", "off", "commits_not_durable", "warning"),
        (RECEIVED, "", "options_not_received", "warning"),
    ],
)
def test_a_setting_of_the_session_that_is_not_as_assumed(
    worker: Worker, setting: str, value: str, code: str, level: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {setting} = '{value}'")
    found_code, finding = only(code)
    assert (found_code, finding["level"]) == (2 if level == "critical" else 1, level)


@pytest.mark.postgresql
def test_a_database_that_takes_no_writes_is_critical(worker: Worker) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")
    code, finding = only("database_read_only")
    assert (code, finding["level"]) == (2, "critical")
    assert "no task is lost" in finding["advice"]
