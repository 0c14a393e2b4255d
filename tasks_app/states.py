"""The states of a task, a worker and a delivery, and the transitions that are allowed."""

from __future__ import annotations

from django.db import models


class Status(models.TextChoices):
    """Where a task stands; the words of the wire. The last three are the terminal ones."""

    PENDING = "PENDING"  # queued, or waiting for its next attempt
    RUNNING = "RUNNING"  # a live worker holds it
    COMPLETED = "COMPLETED"  # the agent finished
    INCOMPLETE = "INCOMPLETE"  # it stopped with partial work
    FAILED = "FAILED"  # it errored after its attempts were used up

    @property
    def terminal(self) -> bool:
        """True for the words on which every published client stops polling."""
        return self in TERMINAL


class OnAuthentication(models.TextChoices):
    """What a run does that lacks a server which its user must connect; the words of the wire."""

    CONTINUE = "continue"  # it works without the server and says so
    WAIT = "wait"  # it waits for the connection before its first step


PRIORITIES = range(10)  # of a task; the higher goes first within its project

TERMINAL = (Status.COMPLETED, Status.INCOMPLETE, Status.FAILED)

TRANSITIONS: dict[Status, frozenset[Status]] = {
    # A pending task can end without a worker: cancelled, or given up after its crashes.
    Status.PENDING: frozenset({Status.RUNNING, Status.INCOMPLETE, Status.FAILED}),
    # RUNNING to PENDING: handed back, taken over, or waiting for its next attempt.
    # RUNNING to RUNNING: the owner writes progress.
    Status.RUNNING: frozenset(Status),
    # Terminal to PENDING: a retry or a continuation, the next run.
    Status.COMPLETED: frozenset({Status.PENDING}),
    Status.INCOMPLETE: frozenset({Status.PENDING}),
    Status.FAILED: frozenset({Status.PENDING}),
}


class IllegalTransition(Exception):
    """A status change that the table does not allow: a defect, never a user's mistake."""


def check_transition(old: Status, new: Status) -> None:
    """Raise IllegalTransition unless a task may go from `old` to `new`."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"{old} to {new}")


class WorkerState(models.TextChoices):
    """Where a worker process stands."""

    ALIVE = "alive"  # claims and runs tasks while its lease lasts
    DRAINING = "draining"  # finishes turns, claims nothing
    GONE = "gone"  # ended in good order, holds nothing
    DEAD = "dead"  # declared dead; what it held was taken over


class DeliveryState(models.TextChoices):
    """Where a webhook's message stands."""

    WAITING = "waiting"  # due now, or at its next attempt
    DELIVERED = "delivered"  # the address took it
    FAILED = "failed"  # given up after a day of tries, or the address said that it is gone
