"""What a request costs the web process that answers it: its memory and its time of processor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.accounts import SUBMIT, Account, make_account
from tests.support.cluster import database_url
from tests.support.web_process import Web, running_web

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

SIZE = 1_480_000  # bytes of a body, just under what is taken at all
MEMORY = 40_000_000  # bytes that all of them may add to the peak; one alone took 1.3 GB
SECONDS = 6.0  # of processor for all of them; one alone took ten


def many(item: bytes, *, before: bytes = b"[", after: bytes = b"]") -> bytes:
    """A list of as many items as the size allows, one after another."""
    return before + b",".join([item] * (SIZE // (len(item) + 1))) + after


BODIES = {
    "numbers as events": b'{"webhook":{"url":"http://a","events":' + many(b"1") + b"}}",
    "empty arrays": b'{"metadata":' + many(b"[]") + b"}",
    "empty objects": b'{"metadata":' + many(b"{}") + b"}",
    "texts": b'{"limits":' + many(b'"ab"') + b"}",
    "unknown fields": b"{" + b",".join(b'"k%d":1' % each for each in range(100_000)) + b"}",
    "pairs": b'{"metadata":{' + b",".join(b'"k%d":""' % each for each in range(90_000)) + b"}}",
    "a long key before many": b'{"%b":%b}' % (b"k" * 1_400_000, many(b"1")[:30_000] + b"1]"),
    "long keys in each other": b'{"%b":' % (b"k" * 23_000) * 60 + b"1" + b"}" * 60,
    "marks that combine": '{{"skill_ref":"{}"}}'.format("\u0301\u0316" * 360_000).encode(),
    "escapes": b'{"prompt":"' + b'\\"' * 700_000 + b'"}',
    "digits": b'{"priority":' + b"1" * SIZE + b"}",
}


@pytest.fixture
def account(transactional_db: None) -> Account:
    """An account that other processes can see."""
    return make_account("acme")


@pytest.fixture
def web(account: Account) -> Iterator[Web]:
    """A web process on the test's own database."""
    with running_web(database=database_url()) as running:
        yield running


def processor_seconds(web: Web) -> float:
    """Return the processor's time that the web process has used, in seconds."""
    fields = Path(f"/proc/{web.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_body_of_the_largest_size_costs_little_whatever_it_holds(
    web: Web, account: Account
) -> None:
    with httpx.Client(
        base_url=web.address,
        headers={**account.bearer, "Content-Type": "application/json"},
        trust_env=False,
        timeout=120,
    ) as client:
        client.post(SUBMIT, json=account.body(prompt="x" * 100_000))
        memory, seconds = web.peak_memory, processor_seconds(web)
        answers = {name: client.post(SUBMIT, content=body) for name, body in BODIES.items()}

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(
        BODIES, 400
    )
    assert all(len(answer.content) < 20_000 for answer in answers.values())
    assert web.peak_memory - memory < MEMORY
    assert processor_seconds(web) - seconds < SECONDS
