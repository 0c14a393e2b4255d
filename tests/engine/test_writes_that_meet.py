"""Two writers of one task at the same moment: the row lock decides, and each is told the truth."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from agent_runtime.llm.schema import read_completion
from agent_runtime.llm.usage import MAX_COST, MAX_TOKENS_COUNTED
from agent_runtime.messages import CallState, Usage
from tasks_app.models import Step, ToolCall
from tasks_app.operations.cancel import cancel
from tasks_app.states import Status, WorkerState
from tasks_app.worker.journal.write import write_entries
from tasks_app.worker.maintenance.reclaim import end_worker
from tests.engine.test_journal import a_call, a_step, an_entry
from tests.support.engine_rows import claimed_task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


def waiting_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


def while_another_holds(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """Do `first` in a transaction; start `second`, and commit once it waits. Return its answer."""
    answers: list[Any] = []

    def run() -> None:
        answers.append(second())
        connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        first()
        thread.start()
        deadline = time.monotonic() + 10
        while not waiting_for_a_lock():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    thread.join(10)
    return answers[0]


def test_a_commit_that_waits_for_the_take_over_is_refused() -> None:
    task, claim = claimed_task()
    assert task.worker_id is not None
    entry = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.STARTED),))
    answer = while_another_holds(
        lambda: end_worker(
            worker_id=task.worker_id,  # type: ignore[arg-type]
            state=WorkerState.DEAD,
            now=timezone.now(),
        ),
        lambda: write_entries([entry]),
    )
    assert answer == {}
    assert Step.objects.count() == ToolCall.objects.count() == 0
    task.refresh_from_db()
    assert (task.status, task.epoch, task.steps_completed) == (Status.PENDING, 2, 0)


def test_a_retry_that_meets_its_own_first_try_counts_it_as_landed() -> None:
    task, claim = claimed_task()
    entry = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.STARTED),))
    answer = while_another_holds(lambda: write_entries([entry]), lambda: write_entries([entry]))
    assert answer == {task.id: 3}
    assert Step.objects.count() == 1
    task.refresh_from_db()
    assert (task.steps_completed, task.input_tokens, task.sequence) == (1, 7, 3)


def test_a_cancel_during_a_commit_keeps_both() -> None:
    task, claim = claimed_task()
    entry = an_entry(task, claim, step=a_step())
    while_another_holds(
        lambda: cancel(task_id=task.id, tenant_id=None, reason="enough", now=timezone.now()),
        lambda: write_entries([entry]),
    )
    task.refresh_from_db()
    assert (task.status, task.steps_completed) == (Status.RUNNING, 1)
    assert task.cancel_requested_at is not None


def test_ten_thousand_calls_in_one_answer_are_written() -> None:
    task, claim = claimed_task()
    calls = tuple(a_call(state=CallState.PLANNED, index=index) for index in range(10_000))
    assert write_entries([an_entry(task, claim, step=a_step(), calls=calls)]) == {task.id: 2}
    assert ToolCall.objects.count() == 10_000


def test_the_dearest_call_that_the_wire_lets_through_fits_the_row() -> None:
    usage = Usage(cost_usd=2 * MAX_COST, input_tokens=MAX_TOKENS_COUNTED)
    task, claim = claimed_task()
    assert write_entries([an_entry(task, claim, step=replace(a_step(), usage=usage))])
    body = {"choices": [{"message": {"content": "Hi"}}], "usage": {"cost": MAX_COST * 1.01}}
    assert read_completion(body, model="m", request_id="", salt="").usage.cost_usd is None
