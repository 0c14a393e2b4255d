"""A provider's refusals become two kinds of fault, with a sentence that may be shown."""

from __future__ import annotations

import base64
import datetime

import pytest

from agent_runtime.errors import ModelError, ModelRefused, ModelUnavailable
from agent_runtime.llm.errors import (
    MAX_DETAIL,
    ProviderTextScrubber,
    classify_status,
    detail_of_error,
    parse_retry_after,
    status_of_error,
)

NOW = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)


def fault_of(status: int, detail: str = "") -> ModelError:
    return classify_status(
        status=status, code=f"HTTP {status}", detail=detail, model="a/model", retry_after=None
    )


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529, 599])
def test_faults_of_the_world_are_tried_again(status: int) -> None:
    assert isinstance(fault_of(status), ModelUnavailable)


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 405, 410, 413, 422, 451])
def test_refusals_are_final(status: int) -> None:
    assert isinstance(fault_of(status), ModelRefused)


SENTENCES = {
    401: "The model provider refused the API key (HTTP 401); check OPENROUTER_API_KEY.",
    402: "The model provider wants to be paid (HTTP 402); add credit, or raise the key's limit: "
    "Nope.",
    404: "The model provider does not know the model a/model or the address (HTTP 404); "
    "check the model id and OPENROUTER_BASE_URL: Nope.",
    422: "The model provider refused the request (HTTP 422): Nope.",
    429: "The model provider is busy (HTTP 429): Nope.",
    307: "The model provider answered with a redirect (HTTP 307), which is not followed; "
    "check OPENROUTER_BASE_URL.",
}


@pytest.mark.parametrize(("status", "sentence"), SENTENCES.items())
def test_the_sentence_says_what_to_do(status: int, sentence: str) -> None:
    assert str(fault_of(status, "Nope.")) == sentence


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 429}, 429),
        ({"code": "402"}, 402),
        ({"code": "invalid_api_key"}, 401),
        ({"code": None, "type": "invalid_request_error"}, 400),
        ({"code": "rate_limit_exceeded"}, 502),
        ({"code": 200}, 502),
        ({"code": True}, 502),
        ({"code": [1]}, 502),
        ({}, 502),
        ("text", 502),
        (["odd"], 502),
    ],
)
def test_an_error_object_is_classified_by_its_code(error: object, status: int) -> None:
    assert status_of_error(error) == status


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ("text", "text"),
        ({"message": "m"}, "m"),
        ({"detail": "d"}, "d"),
        (
            {"message": "Provider returned error", "metadata": {"raw": "overloaded"}},
            "Provider returned error: overloaded",
        ),
        ({"metadata": {"raw": "overloaded"}}, "overloaded"),
        ({"message": "m", "metadata": {"raw": "not needed"}}, "m"),
        ({"message": {"odd": 1}}, "{'odd': 1}"),
        (5, ""),
    ],
)
def test_the_text_of_an_error_is_found(error: object, detail: str) -> None:
    assert detail_of_error(error) == detail


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("99999", 900.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:00 GMT", 900.0),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("١٢", None),
        ("Mon, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, now=NOW) == seconds


def test_an_excerpt_holds_no_key_in_any_form() -> None:
    key = "sk-or/v1+secret~value"
    encoded = base64.b64encode(key.encode()).decode()
    scrubber = ProviderTextScrubber.of(secrets=[key])
    text = scrubber.excerpt(f"{key} {encoded} sk-or%2Fv1%2Bsecret~value sk-proj-abcd****wxyz")
    assert text == "[removed] [removed] [removed] [removed]"
    assert "secret" not in repr(scrubber)


def test_an_excerpt_is_one_short_clean_line() -> None:
    text = ProviderTextScrubber.of(secrets=[""]).excerpt("a\n\n b\x00\x1b " + "x" * 1_000)
    assert text.startswith("a b xxx")
    assert len(text) == MAX_DETAIL
