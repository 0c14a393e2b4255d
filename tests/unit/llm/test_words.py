"""The words of providers' errors are found in any shape, and read for the length of the context."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_runtime.llm.words import detail_of, says_too_long, window_in, words_of

# What providers and servers write, by their documents, code and users' reports: who, the window
# that the words name (- for none, no where the refusal is none for length), the words.
TABLE = Path(__file__).with_name("refusals_for_length.tsv").read_text().splitlines()
ROWS = [line.split("\t") for line in TABLE]


@pytest.mark.parametrize(("who", "window", "words"), ROWS, ids=[row[0] for row in ROWS])
def test_a_refusal_for_length_is_told_with_its_window(who: str, window: str, words: str) -> None:
    assert says_too_long(words) is (window != "no")
    if window != "no":
        assert window_in(words) == (None if window == "-" else int(window))


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ("text", "text"),
        ({"message": "m"}, "m"),
        ({"error": {"message": "m"}}, "m"),
        ({"error": "text"}, "text"),
        ([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}], "m"),
        (
            {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra"}]},
            "body.stream_options: Extra",
        ),
        ({"message": {"detail": [{"loc": ["a", 1], "msg": "m"}]}}, "a.1: m"),
        ({"errors": [{"code": 7, "message": "m"}], "success": False}, "m"),
        ({"error_code": 336, "error_msg": "m"}, "m"),
        (
            {"message": "Provider returned error", "metadata": {"raw": "r"}},
            "Provider returned error: r",
        ),
        ({"message": {"odd": 1}}, "{'odd': 1}"),
        ({}, ""),
        (5, ""),
    ],
)
def test_the_text_for_people_is_found(error: object, detail: str) -> None:
    assert detail_of(error) == detail


def test_the_words_hold_what_gateways_wrap_and_nothing_of_the_request() -> None:
    raw = '{"error": {"message": "Unknown name \\"const\\" at \'tools[0]\'", "code": 400}}'
    error = {
        "message": "Provider returned error",
        "metadata": {"raw": raw, "provider_name": "Google"},
        "detail": [{"loc": ["body", "tools", 3], "msg": "Extra", "input": {"secret": "prompt"}}],
    }
    words = words_of(error)
    assert words.startswith("Provider returned error  Unknown name \"const\" at 'tools[0]' 400 ")
    assert words.endswith(" Google body.tools.3 Extra")
    prefixed = 'litellm.BadRequestError: X - {"error": {"message": "inner \\"k\\""}}'
    assert words_of(prefixed) == 'litellm.BadRequestError: X -  inner "k"'


def test_odd_errors_do_no_harm() -> None:
    deep: object = "x"
    for _ in range(10_000):
        deep = [deep, {}]
    assert words_of(deep) == ""
    assert detail_of(deep) == ""
    assert len(words_of("x" * 1_000_000)) == 20_000
