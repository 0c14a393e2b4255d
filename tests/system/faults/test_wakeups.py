"""Messages that are lost, doubled, late or garbage change nothing: the rows decide."""

from __future__ import annotations

import uuid

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from tasks_app.models import AgentTask, Event
from tasks_app.notifications.wakeup import send_wakeup
from tests.support.cluster import running_cluster
from tests.support.model_server import Reply, UntilRequests
from tests.system.faults.harness import Stage, settled, until

pytestmark = pytest.mark.timeout(180)

TASKS = 10


def started() -> int:
    return Event.objects.filter(kind="started").count()


def test_without_a_knock_a_task_is_found_by_the_next_look(stage: Stage) -> None:
    with running_cluster() as cluster:
        settled(cluster)
        with transaction.atomic():
            ids = stage.submit(TASKS)
            assert OrmQ.objects.all().delete()[0] == TASKS
        stage.wait(ids, cluster)
        assert OrmQ.objects.count() == 0
        assert cluster.stop() == 0, cluster.log
    stage.check_turns_asked_once()
    stage.check_books(ids)


def test_doubled_late_and_garbled_messages_start_nothing_twice_and_stop_nobody(
    stage: Stage,
) -> None:
    with running_cluster() as cluster:
        before = settled(cluster)
        ids = stage.submit(TASKS)
        for task_id in ids * 3:  # doubled
            send_wakeup(task_id=task_id)
        send_wakeup(task_id=uuid.uuid4())  # of nobody
        for payload in ("", "garbage", SignedPackage.dumps({"func": "no.such"}) + "x"):
            OrmQ.objects.create(key="caylex", payload=payload, lock=timezone.now())
        stage.wait(ids, cluster)
        for task_id in ids:  # late
            send_wakeup(task_id=task_id)
        until(lambda: not OrmQ.objects.exists(), "an empty queue", cluster)
        last = stage.submit(1)
        stage.wait(last, cluster)
        assert cluster.children() == before
        assert cluster.stop() == 0, cluster.log
    assert started() == TASKS + 1
    assert not AgentTask.objects.exclude(status="COMPLETED").exists()
    stage.check_turns_asked_once()
    stage.check_books([*ids, *last])


def test_a_task_that_outlasts_the_queue_s_retry_is_not_begun_again(stage: Stage) -> None:
    """The stock queue delivers such a job a second time, and it runs twice."""
    stage.play(think=1.2, turns=2)
    with running_cluster(settings="tests.system.faults.settings", FAULTS_RETRY="2") as cluster:
        settled(cluster)
        ids = stage.submit(3)
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    assert started() == 3
    assert {*AgentTask.objects.values_list("epoch", flat=True)} == {2}
    stage.check_turns_asked_once()
    stage.check_books(ids)


def test_one_process_carries_many_tasks_at_once(stage: Stage) -> None:
    """The stock queue needs a process for each. Here the model waits until all have asked."""
    many = 60
    policy = stage.answer

    def together(request: object) -> Reply:
        reply = policy(request)  # type: ignore[arg-type]
        return Reply([UntilRequests(many), *reply.parts], reply.status, reply.headers)

    stage.answer = together
    with running_cluster(CAYLEX_WORKERS="1") as cluster:
        ids = stage.submit(many)
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    stage.check_turns_asked_once()
    stage.check_books(ids)
