"""What looks like a secret never reaches a log line."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import structlog

from caylex_project.logs import REMOVED, logging_settings, scrub

KEY = "ck_0123456789abcdef0123456789abcdef." + "s" * 43
TOKEN = "cpt_0123456789abcdef0123456789abcdef." + "t" * 43


@pytest.fixture
def formatter() -> logging.Formatter:
    """The formatter of production."""
    given = dict(logging_settings(json_lines=True)["formatters"]["lines"])
    made: logging.Formatter = given.pop("()")(**given)
    return made


def line(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    written = formatter.format(record)
    assert "\n" not in written
    read: dict[str, Any] = json.loads(written)
    return read


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        (f"key {KEY} end", f"key ck_0123456789abcdef0123456789abcdef.{REMOVED} end"),
        (f'"{TOKEN}"', f'"cpt_0123456789abcdef0123456789abcdef.{REMOVED}"'),
        (f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {REMOVED}"),
        ("Bearer abc.def", f"Bearer {REMOVED}"),
        ("postgresql://me:pa55@host/db", f"postgresql://me:{REMOVED}@host/db"),
        ("http://host:8000/path", "http://host:8000/path"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_in_text_are_cut_out(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed


def test_secrets_are_cut_out_at_any_depth_and_by_name() -> None:
    assert scrub({"a": [{"Authorization": "x", "b": (KEY,)}], "api_key": 5, "n": 1}) == {
        "a": [
            {
                "Authorization": REMOVED,
                "b": [f"ck_0123456789abcdef0123456789abcdef.{REMOVED}"],
            }
        ],
        "api_key": REMOVED,
        "n": 1,
    }


def test_a_line_of_the_standard_library_is_json_without_the_secret(
    formatter: logging.Formatter,
) -> None:
    record = logging.LogRecord("x.y", logging.INFO, "f", 1, "sent %s to %s", (KEY, "me"), None)

    read = line(formatter, record)

    assert read["event"] == f"sent ck_0123456789abcdef0123456789abcdef.{REMOVED} to me"
    assert (read["level"], read["logger"]) == ("info", "x.y")
    assert read["timestamp"].endswith("Z")


def test_a_traceback_has_frames_and_no_local_variables(formatter: logging.Formatter) -> None:
    def fail() -> None:
        canary = "-".join(["local", "canary"])
        raise ValueError(f"bad key {KEY}" if canary else "")

    try:
        fail()
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, "f", 1, "failed", (), (type(error), error, error.__traceback__)
        )

    read = line(formatter, record)

    assert "in fail" in read["exception"]
    assert "local-canary" not in read["exception"]
    assert KEY not in read["exception"]
    assert f"ck_0123456789abcdef0123456789abcdef.{REMOVED}" in read["exception"]


def test_bound_values_are_on_the_line(
    formatter: logging.Formatter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("tests.logs").info("happened", token="t", count=2)

    read = line(formatter, caplog.records[-1])

    assert (read["request_id"], read["event"]) == ("r1", "happened")
    assert (read["token"], read["count"]) == (REMOVED, 2)
