"""The process dies before and after each commit of a task; another one finishes the task.

Each test plays the task once undisturbed and once for every commit that there is.
"""

from __future__ import annotations

import itertools

import pytest

from tasks_app.models import AgentTask, Event, Worker
from tasks_app.worker.database import Database
from tests.support.factories import NavigatorFactory
from tests.system.failpoints.jsonl_log import Books, books_of, compare
from tests.system.failpoints.scenario import Play
from tests.system.failpoints.switch import Failpoints, Moment

pytestmark = pytest.mark.timeout(180)

# What happens in the third turn, and how many commits there are at least.
DIRECTIONS = {"": 9, "drained": 12, "unavailable": 12, "refused": 12, "cancelled": 8}


async def played(
    database: Database,
    direction: str,
    failpoints: Failpoints,
    *,
    burial: Failpoints | None = None,
) -> tuple[Play, Books]:
    """Play on a clean table and return the play and its books."""
    await database.run(clear)
    navigator = await database.run(lambda: NavigatorFactory.create(model="scripted"))
    play = Play(
        database=database,
        navigator=navigator,
        failpoints=failpoints,
        direction=direction,
        burial=burial or Failpoints(),
    )
    task = await play.perform()
    return play, await database.run(books_of, play, task)


def clear() -> None:
    AgentTask.objects.all().delete()
    Worker.objects.all().delete()


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_a_death_at_any_commit_leaves_the_books_as_if_nobody_had_died(
    database: Database, direction: str, moment: Moment
) -> None:
    undisturbed, expected = await played(database, direction, Failpoints())
    assert undisturbed.deaths == 0
    assert expected.unknown == set()
    for number in itertools.count():
        failpoints = Failpoints(number=number, moment=moment)
        play, books = await played(database, direction, failpoints)
        if not failpoints.reached:
            break
        died_at = failpoints.passed[number]
        assert play.deaths == 1, died_at
        compare(books, expected)
    assert number >= DIRECTIONS[direction], undisturbed.failpoints.passed
    kinds = {*undisturbed.failpoints.passed}
    assert {"submit", "claim", "write", "end worker"} <= kinds


async def test_a_death_between_the_tools_answer_and_its_commit_is_the_one_doubt(
    database: Database,
) -> None:
    """The second write of the script holds the results of the first turn's calls."""
    failpoints = Failpoints(number=3, moment=Moment.BEFORE)
    _, books = await played(database, "", failpoints)
    assert failpoints.passed[:4] == ["submit", "claim", "write", "write"]
    assert books.unknown == {"one"}
    assert (books.lines["one"], books.lines["two"]) == (1, 2)
    kinds = await database.run(lambda: [*Event.objects.values_list("kind", flat=True)])
    assert kinds.count("taken_over") == 1


@pytest.mark.parametrize("moment", Moment)
async def test_a_death_while_the_dead_are_buried_frees_no_task_twice(
    database: Database, moment: Moment
) -> None:
    _, expected = await played(database, "", Failpoints())
    play, books = await played(
        database,
        "",
        Failpoints(number=2, moment=Moment.AFTER),
        burial=Failpoints(number=0, moment=moment),
    )
    assert play.deaths == 2
    compare(books, expected)
    kinds = await database.run(lambda: [*Event.objects.values_list("kind", flat=True)])
    assert kinds.count("taken_over") == 1
