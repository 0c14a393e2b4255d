"""SIGTERM under load: turns are finished, tasks handed back in their own commits, nothing lost."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Sequence

import pytest
from django.db.models import Min

from tasks_app.models import AgentTask, Event, Step, ToolCall, Worker
from tests.support.cluster import Cluster, running_cluster
from tests.support.model_server import Hold, Recorded, Reply
from tests.system.faults.harness import Stage, settled, task_of, writing

pytestmark = pytest.mark.timeout(180)

TASKS = 10
MAX_DELAY = 3.0  # seconds that a deploy may cost a task beyond the turn that it was in


def holding(_: Recorded) -> Reply:
    """The model says nothing until it is left alone."""
    return Reply([Hold()])


def waits_for_tool(request: Recorded) -> bool:
    return task_of(request) in ("task-1", "task-3", "task-5")


def all_ended_in_good_order() -> bool:
    return not Worker.objects.exclude(state="gone", held=0).exists()


def check_nothing_charged(ids: Sequence[uuid.UUID]) -> None:
    left = AgentTask.objects.filter(pk__in=ids).exclude(status="COMPLETED")
    assert {*left.values_list("status", "attempt", "crashes")} <= {("PENDING", 0, 0)}
    assert not ToolCall.objects.filter(state="started").exists(), "something is in doubt"


def delays() -> list[float]:
    """Seconds from each hand-back to the beginning of the task's next turn."""
    found = []
    for event in Event.objects.filter(kind="handed_back"):
        turns = Step.objects.filter(task=event.task_id, started_at__gt=event.at)
        began = turns.aggregate(first=Min("started_at"))["first"]
        found.append((began - event.at).total_seconds())
    return found


@pytest.mark.parametrize("send", [Cluster.send, Cluster.send_to_group])
def test_a_signal_under_load_repeats_no_turn_and_charges_no_attempt(
    stage: Stage, send: Callable[[Cluster, signal.Signals], None]
) -> None:
    stage.play(think=0.2)
    with running_cluster() as cluster:
        settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        send(cluster, signal.SIGTERM)
        assert cluster.wait() == 0
        assert cluster.survivors() == []
    assert all_ended_in_good_order()
    check_nothing_charged(ids)
    handed_back = Event.objects.filter(kind="handed_back")
    assert handed_back.count() == AgentTask.objects.filter(status="PENDING").count() > 0
    for event in handed_back:  # an end of the worker would have named it
        assert event.data == {"status": "PENDING"}, "it was not handed back in a commit of its own"
    with running_cluster() as cluster:
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    stage.check_turns_asked_once()
    stage.check_books(ids)
    stage.check_nothing_in_doubt()


def test_a_signal_to_one_worker_moves_its_tasks_and_the_cluster_stays(stage: Stage) -> None:
    with running_cluster() as cluster:
        before = settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        leaver = stage.send_to_busy_worker(signal.SIGTERM, cluster)
        stage.wait(ids, cluster)
        cluster.wait_for(rf"pid {leaver.pid}, ended with code 0")
        assert len({*cluster.wait_for_children(len(before))} & {*before}) == len(before) - 1
        assert cluster.stop() == 0, cluster.log
    assert Event.objects.filter(kind="handed_back").exists()
    stage.check_turns_asked_once()
    stage.check_books(ids)


def test_a_second_signal_breaks_off_hands_back_and_exits_with_71(stage: Stage) -> None:
    policy, stage.answer = stage.answer, holding
    with running_cluster() as cluster:
        settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_requests(TASKS, cluster)
        cluster.send_to_group(signal.SIGTERM)
        cluster.wait_for("engine.draining")
        assert AgentTask.objects.filter(status="RUNNING").count() == TASKS
        cluster.send_to_group(signal.SIGTERM)
        assert cluster.wait() == 71
        assert cluster.survivors() == []
    assert stage.model.hung_up.is_set(), "the model's calls were not aborted"
    assert all_ended_in_good_order()
    check_nothing_charged(ids)
    stage.answer = policy
    with running_cluster() as cluster:
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    assert {*stage.asked().values()} == {1, 2}
    stage.check_books(ids)


def test_at_the_drain_s_deadline_what_is_left_is_handed_back_without_a_charge(stage: Stage) -> None:
    """Half of the tasks wait for the model, the others for a tool that never answers."""
    hanging = writing(1, tool="hang")
    stage.turns = 1
    stage.answer = lambda each: hanging(each) if waits_for_tool(each) else holding(each)
    with running_cluster(CAYLEX_DRAIN_SECONDS="0.5") as cluster:
        settled(cluster)
        ids = stage.submit(6)
        stage.wait_for_requests(6, cluster)
        stage.wait_for_lines(3, cluster)
        cluster.send(signal.SIGTERM)
        assert cluster.wait() == 0
    assert all_ended_in_good_order()
    left = AgentTask.objects.values_list("status", "attempt", "crashes")
    assert [*left] == [("PENDING", 0, 0)] * 6
    assert Event.objects.filter(kind="handed_back", data__has_key="worker").count() == 6
    stage.play(turns=1, tool="")
    with running_cluster() as cluster:
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    unknown = ToolCall.objects.filter(state="unknown_outcome")
    assert {*unknown.values_list("name", flat=True)} == {"ledger__hang"}
    assert unknown.count() == 3
    said = "\n".join(stage.last_words_to_model())
    assert said.count("may or may not have happened") == 3
    assert sorted(stage.ledger.entries) == [f"task-{number}/1" for number in range(6)]
    stage.check_books(ids)


def test_a_rolling_deploy_repeats_no_turn_doubles_no_effect_and_delays_none_for_long(
    stage: Stage,
) -> None:
    """Two parents; one after the other is told to end and replaced, under load.

    A task of a newer release, which is not deployed here yet, waits meanwhile.
    """
    stage.play(turns=10, think=0.25)
    with running_cluster() as first, running_cluster() as second:
        settled(first)
        settled(second)
        ids = stage.submit(2 * TASKS)
        stage.wait_for_lines(TASKS, first, second)
        assert first.stop() == 0, first.log
        with running_cluster() as third:
            settled(third)
            ids += stage.submit(TASKS)
            newer = stage.submit_of_a_newer_release()
            assert second.stop() == 0, second.log
            with running_cluster() as fourth:
                settled(fourth)
                stage.wait(ids, third, fourth)
                assert third.stop() == fourth.stop() == 0, third.log + fourth.log
    assert 0 < max(delays()) < MAX_DELAY
    assert not Event.objects.filter(kind="taken_over").exists()
    assert AgentTask.objects.filter(pk=newer, status="PENDING", epoch=0).exists()
    stage.check_turns_asked_once()
    stage.check_books(ids)
    stage.check_nothing_in_doubt()
