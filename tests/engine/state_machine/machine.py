"""The engine as a state machine: any order of what callers, workers and time may do.

Rules call what the workers call, on a real connection, with the clock as an argument. Each says
what has to come of it by the rows as they were before; `rows` says what must always be true.
Hands are owners' views of tasks. They are never taken away: an owner that was frozen or cut off
goes on writing, and nothing of that may land.
"""

from __future__ import annotations

import datetime
import os
import random
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from caylex_project.accounts.models import Tenant
from tasks_app.models import AgentTask, Worker
from tasks_app.operations import cancel as stop
from tasks_app.operations import runs, submit
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import Claim, LeaseLost, claim_due, claim_quarantined
from tasks_app.worker.claiming.quarantine import FATAL_AT, QUARANTINED_AT, batch_size
from tasks_app.worker.journal.entries import Entry, Stopped
from tasks_app.worker.journal.write import write_entries
from tasks_app.worker.maintenance.reclaim import end_worker
from tasks_app.worker.maintenance.sweep import CANCEL_SECONDS, sweep
from tasks_app.worker.process.lease import set_draining
from tests.engine.state_machine.owners import WAYS_OUT, Owner
from tests.engine.state_machine.rows import LIVING, Rows, check_change, check_rows, read_rows
from tests.support.factories import NavigatorFactory, WorkerFactory

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
LEASE = datetime.timedelta(seconds=30)
SLICE = 3
MAX_TASKS = 5
MAX_WORKERS = 3
HANDS = 3  # that one group of writes is made of at most

# What happens, and how often beside the others.
HAPPENS = {
    "time_passes": 3,
    "freeze": 1,
    "lose": 3,
    "thaw": 1,
    "start_worker": 2,
    "sweep": 4,
    "submit": 2,
    "cancel": 1,
    "retry": 2,
    "claim": 9,
    "claim_suspects": 3,
    "crash_of_suspects": 1,
    "drain": 1,
    "end_in_good_order": 1,
    "commit_steps": 12,
    "commit_results": 8,
    "release": 3,
    "write_again": 2,
}


class EngineMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        for model in (AgentTask, Worker, Tenant):
            model.objects.all().delete()
        self.patch = pytest.MonkeyPatch()
        # Ids decide who comes first: the same play has to have the same ones.
        self.patch.setattr(os, "urandom", random.Random(0).randbytes)
        self.now = BEGIN
        self.navigators = [NavigatorFactory.create(model="scripted") for _ in range(2)]
        self.hands: list[Owner] = []
        self.written: list[Entry] = []
        self.turn = uuid.UUID(int=0)
        self.frozen: set[uuid.UUID] = set()
        self.dice = random.Random(0)
        self.rows = read_rows()
        for begin in (self.start_worker, self.start_worker, self.submit, self.submit, self.submit):
            begin()
            self.rows = read_rows()

    def teardown(self) -> None:
        self.patch.undo()

    @rule(seed=st.integers(0, 2**32 - 1))
    def something_happens(self, seed: int) -> None:
        self.dice = random.Random(seed)
        (what,) = self.dice.choices([*HAPPENS], weights=[*HAPPENS.values()])
        note(what)
        getattr(self, what)()

    @invariant()
    def rows_are_right(self) -> None:
        after = read_rows()
        check_rows(after)
        check_change(self.rows, after)
        self.rows = after

    # What time and the machines do.

    def time_passes(self, seconds: float | None = None) -> None:
        """Every living worker renews its lease in time, but for those that are frozen."""
        passing = self.dice.choice([0.1, 1, 3, 6]) if seconds is None else seconds
        self.now += datetime.timedelta(seconds=passing)
        awake = Worker.objects.filter(state__in=LIVING).exclude(pk__in=self.frozen)
        awake.update(lease_until=self.now + LEASE)

    def freeze(self) -> None:
        self.frozen.add(self.worker())

    def lose(self, worker_id: uuid.UUID | None = None) -> None:
        """A worker is gone, or frozen for longer than its lease."""
        self.frozen.add(worker_id or self.worker())
        self.time_passes(31)

    def thaw(self) -> None:
        if self.frozen:
            self.frozen.remove(self.dice.choice(sorted(self.frozen)))

    def start_worker(self) -> None:
        if self.count(*LIVING) < MAX_WORKERS:
            WorkerFactory.create(started_at=self.now, lease_until=self.now + LEASE)

    # What callers do.

    def submit(self) -> None:
        if len(self.rows.tasks) >= MAX_TASKS:
            return
        made = submit.submit(
            navigator=self.dice.choice(self.navigators),
            submission=submit.Submission(user_email="jane@example.com", prompt="Do it."),
            now=self.now,
        )
        lost_before = self.dice.choice([0, 0, 1, 3, FATAL_AT - 1, FATAL_AT - 1])  # a play is short
        AgentTask.objects.filter(pk=made.task_id).update(crashes=lost_before)

    def cancel(self) -> None:
        before = self.task()
        asked = stop.cancel(
            task_id=before["id"], tenant_id=before["tenant_id"], reason="enough", now=self.now
        )
        after = read_rows().tasks[before["id"]]
        over = Status(before["status"]).terminal
        assert asked is not over
        if over:
            assert after == before
        elif before["status"] == Status.PENDING:
            assert (after["status"], after["stop_reason"]) == (Status.INCOMPLETE, "cancelled")
        else:
            assert after["cancel_requested_at"] == (before["cancel_requested_at"] or self.now)
            assert after["worker_id"] == before["worker_id"]

    def retry(self) -> None:
        before = self.task()
        if before["status"] not in (Status.FAILED, Status.INCOMPLETE):
            with pytest.raises(runs.RetryRefused):
                runs.retry(task_id=before["id"], tenant_id=None, now=self.now)
            assert read_rows() == self.rows
            return
        runs.retry(task_id=before["id"], tenant_id=None, now=self.now)
        after = read_rows().tasks[before["id"]]
        assert (after["status"], after["run_number"]) == (Status.PENDING, before["run_number"] + 1)
        assert (after["attempt"], after["crashes"], after["error"]) == (0, 0, None)
        assert after["cancel_requested_at"] is None

    # What workers do.

    def claim(self) -> None:
        worker_id = self.worker()
        due = self.due(quarantined=False)
        if not self.may_claim(worker_id):
            with pytest.raises(LeaseLost):
                claim_due(worker_id=worker_id, limit=SLICE, after_tenant=self.turn, now=self.now)
            assert read_rows() == self.rows
            return
        claims, self.turn = claim_due(
            worker_id=worker_id, limit=SLICE, after_tenant=self.turn, now=self.now
        )
        assert len(claims) == min(SLICE, len(due))
        assert {claim.task_id for claim in claims} <= due
        self.take(worker_id, claims)

    def crash_of_suspects(self) -> None:
        """What seldom comes up by itself: one worker after another is lost with its suspects."""
        for _ in range(self.dice.randint(1, 4)):
            fresh = WorkerFactory.create(started_at=self.now, lease_until=self.now + LEASE).id
            self.rows_are_right()
            for happens in (partial(self.claim_suspects, fresh), partial(self.lose, fresh)):
                happens()
                self.rows_are_right()
            self.sweep()
            self.rows_are_right()

    def claim_suspects(self, worker_id: uuid.UUID | None = None) -> None:
        worker_id = worker_id or self.worker()
        due = self.due(quarantined=True)
        if not self.may_claim(worker_id):
            with pytest.raises(LeaseLost):
                claim_quarantined(worker_id=worker_id, now=self.now)
            assert read_rows() == self.rows
            return
        claims = claim_quarantined(worker_id=worker_id, now=self.now)
        fewest = min((self.rows.tasks[each]["crashes"] for each in due), default=0)
        level = {each for each in due if self.rows.tasks[each]["crashes"] == fewest}
        assert len(claims) == min(batch_size(fewest), len(level))
        assert {claim.task_id for claim in claims} <= level
        self.take(worker_id, claims)

    def drain(self) -> None:
        set_draining(worker_id=self.worker())

    def end_in_good_order(self) -> None:
        worker_id = self.worker()
        held = self.rows.held_by(worker_id)
        freed = end_worker(worker_id=worker_id, state=WorkerState.GONE, now=self.now)
        assert {*freed} == held
        self.check_freed(read_rows(), held, crash=0)

    def sweep(self) -> None:
        doomed = [
            key
            for key, worker in self.rows.workers.items()
            if worker["state"] in LIVING and worker["lease_until"] <= self.now
        ]
        held = {task for worker_id in doomed for task in self.rows.held_by(worker_id)}
        assert sweep(now=self.now) == len(held)
        after = read_rows()
        assert {after.workers[key]["state"] for key in doomed} <= {WorkerState.DEAD}
        asked = {key for key, task in self.rows.tasks.items() if self.overdue(task)}
        fatal = {key for key in held if self.rows.tasks[key]["crashes"] + 1 >= FATAL_AT}
        self.check_freed(after, held - asked - fatal, crash=1)
        assert {after.tasks[key]["status"] for key in fatal} <= {Status.FAILED}
        assert {after.tasks[key]["stop_reason"] for key in asked - fatal} <= {"cancelled"}
        for key in self.rows.tasks.keys() - held - asked:
            assert after.tasks[key] == self.rows.tasks[key]

    # What owners write, whether they still are owners or not.

    def commit_steps(self) -> None:
        owners = [owner for owner in self.some_hands() if not owner.open]
        started, planned = self.dice.randint(0, 2), self.dice.randint(0, 2)
        draining = self.dice.random() < 0.2
        steps = [
            owner.step(now=self.now, started=started, planned=planned, draining=draining)
            for owner in owners
        ]
        self.write(owners, steps)

    def commit_results(self) -> None:
        owners = [owner for owner in self.some_hands() if owner.open]
        many = self.dice.randint(1, 3)
        self.write(owners, [owner.results(now=self.now, many=many) for owner in owners])

    def release(self) -> None:
        owners = self.some_hands()
        way = self.dice.choice([*WAYS_OUT])
        self.write(owners, [owner.release(way, now=self.now) for owner in owners])

    def write_again(self) -> None:
        """A write whose outcome nobody heard, however long ago."""
        if self.written:
            write_entries([self.dice.choice(self.written)])
            assert read_rows() == self.rows

    # What all that has in common.

    def count(self, *states: WorkerState) -> int:
        return sum(worker["state"] in states for worker in self.rows.workers.values())

    def worker(self) -> uuid.UUID:
        """Return any worker that there ever was, the living more often."""
        workers = self.rows.workers
        living = [key for key, worker in workers.items() if worker["state"] in LIVING]
        pool = [*living, *living, *living, *workers]
        return self.dice.choice(pool)

    def task(self) -> dict[str, Any]:
        return self.dice.choice([*self.rows.tasks.values()])

    def some_hands(self) -> list[Owner]:
        """Return some hands, of different tasks: a worker never writes one task twice at once.

        Those that own their task come up more often.
        """
        epochs = {key: task["epoch"] for key, task in self.rows.tasks.items()}
        owners = [owner for owner in self.hands if epochs[owner.claim.task_id] == owner.claim.epoch]
        pool = [*owners, *owners, *reversed(self.hands)]
        found = self.dice.sample(pool, min(len(pool), self.dice.randint(1, HANDS)))
        return [*{owner.claim.task_id: owner for owner in found}.values()]

    def may_claim(self, worker_id: uuid.UUID) -> bool:
        worker = self.rows.workers[worker_id]
        return bool(worker["state"] == WorkerState.ALIVE and worker["lease_until"] > self.now)

    def due(self, *, quarantined: bool) -> set[uuid.UUID]:
        return {
            key
            for key, task in self.rows.tasks.items()
            if task["status"] == Status.PENDING
            and task["next_attempt_at"] <= self.now
            and (task["crashes"] >= QUARANTINED_AT) is quarantined
        }

    def overdue(self, task: dict[str, Any]) -> bool:
        asked = task["cancel_requested_at"]
        waits = asked is not None and task["completed_at"] is None
        return waits and bool(asked <= self.now - CANCEL_SECONDS)

    def take(self, worker_id: uuid.UUID, claims: Sequence[Claim]) -> None:
        after = read_rows()
        for claim in claims:
            old, new = self.rows.tasks[claim.task_id], after.tasks[claim.task_id]
            assert (new["status"], new["worker_id"]) == (Status.RUNNING, worker_id)
            assert claim.epoch == new["epoch"] == old["epoch"] + 1
            self.hands.append(Owner.of(worker_id, claim))

    def write(self, owners: Sequence[Owner], entries: Sequence[Entry]) -> None:
        """Write a group; exactly those land who own their task and know where it stands."""
        if not entries:
            return
        before = self.rows.tasks
        may = {
            owner.claim.task_id
            for owner in owners
            if before[owner.claim.task_id]["status"] == Status.RUNNING
            and before[owner.claim.task_id]["epoch"] == owner.claim.epoch
            and before[owner.claim.task_id]["sequence"] == owner.sequence
        }
        landed = write_entries(entries)
        after = read_rows()
        assert may <= landed.keys()
        for owner, entry in zip(owners, entries, strict=True):
            sequence = landed.get(entry.task_id)
            asked = before[entry.task_id]["cancel_requested_at"] is not None
            if owner.claim.task_id in may and not (asked and entry.starts):
                self.check_landed(entry, before[entry.task_id], after.tasks[entry.task_id])
                assert isinstance(sequence, int)
                owner.landed(entry, sequence)
            elif owner.claim.task_id in may:
                assert isinstance(sequence, Stopped), "a call was started after the cancel"
                assert sequence.reason == "enough"
                assert after.tasks[entry.task_id] == before[entry.task_id]
            else:
                assert after.tasks[entry.task_id] == before[entry.task_id], "a stale write landed"
        assert write_entries(entries).keys() >= may, "the same write again was refused"
        assert read_rows() == after, "the same write again changed something"
        self.written += entries

    def check_landed(self, entry: Entry, old: dict[str, Any], new: dict[str, Any]) -> None:
        release = entry.release
        assert new["status"] == (release.status if release else Status.RUNNING)
        assert new["worker_id"] == (None if release else old["worker_id"])
        assert new["attempt"] == entry.attempt
        assert new["crashes"] == (0 if entry.progress else old["crashes"])

    def check_freed(self, after: Rows, freed: set[uuid.UUID], *, crash: int) -> None:
        for key in freed:
            old, new = self.rows.tasks[key], after.tasks[key]
            assert (new["status"], new["worker_id"]) == (Status.PENDING, None)
            assert new["epoch"] == old["epoch"] + 1
            assert (new["crashes"], new["attempt"]) == (old["crashes"] + crash, old["attempt"])
            assert new["next_attempt_at"] == self.now
