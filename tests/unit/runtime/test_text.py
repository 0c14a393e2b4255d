"""Foreign text is made fit for PostgreSQL, UTF-8 and people."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.text import MAX_DEPTH, TOO_DEEP, clean, clean_text

ANY_CHARACTER = st.characters(codec=None)  # lone surrogates included
ANY_TEXT = st.text(ANY_CHARACTER)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\x00b", "ab"),
        ("\x1b[31mred", "[31mred"),
        ("a\x7f\x85\x9fb", "ab"),
        ("tab\t line\n return\r stay", "tab\t line\n return\r stay"),
        ("half \ud83d alone", "half \ufffd alone"),
        ("two halves \ud83d\ude00 meet", "two halves 😀 meet"),
        ("grüße 😀 \u200f\ufeff", "grüße 😀 \u200f\ufeff"),
    ],
)
def test_control_characters_go_and_halves_are_mended(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


def test_what_is_fit_comes_back_as_the_same_object() -> None:
    text = "plain text with an ä and a line\n"
    value = {"a": [1, 2.5, None, True, {"b": text}]}
    assert clean_text(text) is text
    assert clean(value) is value


def test_keys_and_nested_strings_are_cleaned_and_numbers_are_finite() -> None:
    value = {"a\x00": ["\x00", {"b": "\ud800"}], "n": float("nan"), "i": float("-inf"), "k": 1.5}
    assert clean(value) == {"a": ["", {"b": "\ufffd"}], "n": None, "i": None, "k": 1.5}


def test_what_is_nested_too_deep_is_replaced_and_the_rest_stays() -> None:
    deep: Any = "bottom"
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    cleaned = clean({"deep": deep, "beside": "stays"})
    assert cleaned["beside"] == "stays"
    for _ in range(MAX_DEPTH - 1):
        cleaned = cleaned["deep"] if isinstance(cleaned, dict) else cleaned[0]
    assert cleaned == [TOO_DEEP]


@given(ANY_JSON)
def test_whatever_comes_in_can_be_stored_as_jsonb(value: Any) -> None:
    encoded = json.dumps(clean(value), allow_nan=False, ensure_ascii=False).encode()
    assert b"\\u0000" not in encoded
    assert clean(clean(value)) == clean(value)
