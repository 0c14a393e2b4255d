"""Whatever stands behind the question mark: an answer or an error in the one shape, never a 500."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from caylex_project.web.change_hub import ChangeHub
from caylex_project.web.long_polling import LongPolling
from caylex_project.web.request_limits import ASGIMessage, Scope
from tests.support.accounts import SUBMIT, Account
from tests.support.journal_rows import lived
from tests.web.test_change_hub import PATH, ByHand

few = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

NAMES = [
    *("status", "user_email", "project_id", "skill", "created_after", "created_before"),
    *("size", "cursor", "metadata[order]", "metadata[]", "metadata[", "metadata[\x00]"),
    *("starting_after", "limit", "offset", "wait"),
]
NEARLY = [  # right but for a little
    *("0", "1", "-1", "+1", "01", "1.0", "1e3", "2147483648", "9999999999", "\u0661", " 5"),
    *("PENDING", "PENDING,RUNNING", "pending", "PENDING,", "jane@example.com", "a@b"),
    *("2026-06-18T15:00:00+00:00", "2026-06-18T15:00:00", "0001-01-01T00:00:00+23:59"),
    *("9999-12-31T23:59:59-23:59", "2026-W25-4T15Z", "0d4c1c3e-8f6b-4f0e-9a53-1f6f6b7f2a10"),
    *("1-0-0", "999999999-999999999-999999999", "eyJhIjoxfQ==", "%00", "\x00", "\ud800"),
]

texts = st.sampled_from(NEARLY) | st.text(st.characters(exclude_categories=[]), max_size=70)
words = texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=20)
names = st.sampled_from(NAMES).map(str.encode) | words
pairs = st.tuples(names, words).map(
    lambda each: b"=".join(quote_from_bytes(x).encode() for x in each)
)
queries = st.lists(pairs, max_size=4).map(b"&".join) | st.binary(max_size=40)


@pytest.fixture
def addresses(acme: Account) -> list[str]:
    """Every address that reads parameters, of a task with a history."""
    task = lived(acme)
    below = [f"{SUBMIT}/{task.id}{each}" for each in ("", "/events", "/transcript")]
    return [SUBMIT, *below, f"/api/v1/queries/query-logs/{task.session_id}/trace"]


@pytest.mark.usefixtures("one_connection")
@few
@given(query=queries)
@example(query=b"metadata[order]=" + b"x" * 600)
@example(query=b"&".join(b"metadata[%d]=1" % each for each in range(20)))
def test_any_parameters_are_answered_or_refused_in_one_shape(
    query: bytes, addresses: list[str], acme: Account
) -> None:
    client = Client(raise_request_exception=False, headers=acme.bearer)
    for address in addresses:
        answer = client.get(address, QUERY_STRING=query.decode("latin-1"))
        body = answer.json()
        assert answer.status_code in (200, 400), (address, query, body)
        assert answer.status_code == 400 or b"%00" not in query, (address, query)
        if answer.status_code == 400:
            assert body["code"] in ("invalid_parameter", "unknown_parameter"), (address, query)
            assert [set(each) for each in body["errors"]] == [{"field", "code", "message"}]
        assert answer.status_code == 200 or {"detail", "code", "request_id"} <= set(body)


async def not_found(scope: Scope, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@few
@given(query=queries, last_id=st.binary(max_size=20), below=st.sampled_from(["", "/events"]))
def test_the_layer_that_waits_passes_on_whatever_it_cannot_read(
    query: bytes, last_id: bytes, below: str
) -> None:
    async def ask() -> list[ASGIMessage]:
        sent: list[ASGIMessage] = []

        async def send(message: ASGIMessage) -> None:
            sent.append(message)

        async def receive() -> ASGIMessage:
            never: asyncio.Future[ASGIMessage] = asyncio.get_running_loop().create_future()
            return await never

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"{PATH}{below}",
            "query_string": query,
            "headers": [(b"accept", b"text/event-stream"), (b"last-event-id", last_id)],
        }
        await LongPolling(not_found, hub=ChangeHub(ByHand()))(scope, receive, send)
        return sent

    assert [each.get("status") for each in asyncio.run(ask())] == [404, None]
