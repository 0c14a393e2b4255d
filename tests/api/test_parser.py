"""The strict reader: what is no plain JSON object is refused with the field named."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks_app.api.errors import BadFields, Problem
from tasks_app.api.json_parser import MAX_DEPTH, MAX_ELEMENTS, read_object
from tasks_app.models import AgentTask
from tests.support.accounts import Caller


def field_and_code(body: str | bytes) -> tuple[str, str]:
    """Return what the refusal of `body` names."""
    with pytest.raises(BadFields) as caught:
        read_object(body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass"))
    (error,) = caught.value.errors
    assert error["message"]
    return error["field"], error["code"]


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        (r'{"a": 1, "a": 2}', "a", "duplicate_field"),
        (r'{"a": 1, "\u0061": 2}', "a", "duplicate_field"),
        (r'{"limits": {"x": 1, "x": 1}}', "limits.x", "duplicate_field"),
        (r'{"a": [0, {"b": 1, "b": 1}]}', "a[1].b", "duplicate_field"),
        (r'{"prompt": "a\u0000b"}', "prompt", "invalid_text"),
        (r'{"a\u0000b": 1}', r"a\x00b", "invalid_text"),
        (r'{"prompt": "\ud800"}', "prompt", "invalid_text"),
        (r'{"prompt": "\udc00 and on"}', "prompt", "invalid_text"),
        (r'{"prompt": "\ud83d \ude00"}', "prompt", "invalid_text"),
        (r'{"\ud800": 1}', r"\ud800", "invalid_text"),
        (r'{"a": {"b": ["x", "\ud800"]}}', "a.b[1]", "invalid_text"),
        ('{"a": NaN}', "a", "invalid_number"),
        ('{"a": [Infinity]}', "a[0]", "invalid_number"),
        ('{"a": {"b": -Infinity}}', "a.b", "invalid_number"),
        ('{"a": 1e400}', "a", "invalid_number"),
        ('{"a": -1e400}', "a", "invalid_number"),
        ('{"a": ' + "9" * 5000 + "}", "a", "invalid_number"),
    ],
)
def test_a_bad_spot_is_named(body: str, field: str, code: str) -> None:
    assert field_and_code(body) == (field, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"{",
        b"nope",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 01}',
        b'{"a": 1} x',
        b'{"a": "\n"}',
        b'{"a": "\xff"}',
        b'\xff\xfe{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": "\ud800"}'.encode("utf-8", "surrogatepass"),
        b"\xef\xbb\xbf{}",
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b"NaN",
        b"[NaN]",
    ],
)
def test_what_is_no_json_object_is_invalid_json(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        read_object(body)
    assert (caught.value.status_code, caught.value.code) == (400, "invalid_json")


def test_nesting_to_the_limit_is_read_and_one_deeper_is_not() -> None:
    depth = MAX_DEPTH - 1  # the object around it is the first level
    assert read_object(b'{"a": ' + b"[" * depth + b"]" * depth + b"}")["a"] is not None

    with pytest.raises(BadFields) as caught:
        read_object(b'{"a": ' + b"[" * (depth + 1) + b"]" * (depth + 1) + b"}")
    assert caught.value.errors[0]["code"] == "too_deep"


@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [500, 100_000])
def test_any_depth_is_an_answer_and_never_a_crash(bracket: bytes, depth: int) -> None:
    close = b"]" if bracket == b"[" else b"}"
    for body in (b'{"a": ' + bracket * depth, b'{"a": ' + bracket * depth + close * (depth + 1)):
        with pytest.raises(Problem) as caught:
            read_object(body)
        assert caught.value.status_code == 400


def test_good_values_come_through_as_they_were_sent() -> None:
    sent = {"a": [1, -2.5, True, False, None, "\U0001f600 \u00e9\n"], "b": {"c": {}}, "": ""}

    assert read_object(json.dumps(sent).encode()) == sent
    assert read_object(json.dumps(sent, ensure_ascii=False).encode()) == sent


def test_the_answer_never_holds_what_it_cannot_print(backend: Caller) -> None:
    for key in (r"\ud800", r"\u0000", r"\u202e", "x" * 200_000):
        answer = backend.post(f'{{"{key}": 1}}')

        assert answer.status_code == 400
        fields = [each["field"] for each in answer.json()["errors"]]
        assert all(len(field) < 200 and field.isprintable() for field in fields)


def test_a_thousand_unknown_fields_do_not_make_a_thousand_errors(backend: Caller) -> None:
    answer = backend.post(json.dumps({f"f{number}": 1 for number in range(1_000)}))

    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 20
    assert answer.json()["detail"].startswith("1,003 fields: caylex_api_key: ")
    assert answer.json()["detail"].endswith(" And 998 more.")


def test_the_sentence_names_each_of_a_few_fields(backend: Caller) -> None:
    body = backend.account.body()
    del body["prompt"]
    answer = backend.post(json.dumps({**body, "promt": "Count."}))

    assert answer.json()["detail"] == (
        "2 fields: prompt: This field is required. promt: This field is not known here."
    )
    assert [each["field"] for each in answer.json()["errors"]] == ["prompt", "promt"]


@pytest.mark.parametrize(
    "value",
    [
        "[" + ",".join(["1"] * (MAX_ELEMENTS - 1)) + "]",
        "[" + ",".join(["[]"] * (MAX_ELEMENTS // 2 - 1)) + ",1]",
        "[" + ",".join(['{"a":""}'] * (MAX_ELEMENTS // 2 - 1)) + ",1]",
        json.dumps('[{,\\"' * MAX_ELEMENTS),
    ],
)
def test_a_body_of_many_values_is_read_up_to_the_limit_and_one_more_is_refused(value: str) -> None:
    within = f'{{"a":{value}}}'
    read_object(within.encode())

    if value.startswith("["):
        assert field_and_code(within.replace("]}", ",1]}")) == ("", "too_many_values")


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [' + b'"\\"' * 400_000,  # one string that never ends
        b'{"a": [' + b"," * MAX_ELEMENTS + b'"' + b'\\"' * 700_000,
        b"," * (MAX_ELEMENTS + 1) + b'""' * 700_000,
        b"[" * 1_400_000,
    ],
)
def test_what_only_looks_like_many_values_is_counted_in_one_pass(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(Problem) as caught:
        read_object(body)

    assert caught.value.status_code == 400
    assert time.process_time() - began < 2.0  # a quadratic pass takes minutes


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/*",
        "*/*",
        "application/jsonp",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/problem+json",
    ],
)
def test_another_content_type_is_415(backend: Caller, content_type: str) -> None:
    answer = backend.post(json.dumps(backend.account.body()), content_type=content_type)

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert not AgentTask.objects.exists()


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json; profile=x",
    ],
)
def test_json_in_utf8_is_taken_however_it_is_announced(backend: Caller, content_type: str) -> None:
    answer = backend.post(json.dumps(backend.account.body()), content_type=content_type)

    assert answer.status_code == 202


@pytest.mark.parametrize("body", [b"", b" ", b"null", b"[]"])
def test_an_empty_body_or_no_object_is_400(backend: Caller, body: bytes) -> None:
    answer = backend.post(body)

    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_json", "required")


def test_only_the_body_counts_and_never_the_query(backend: Caller) -> None:
    answer = backend.post(b"{}", path="/api/v1/agent-task?prompt=x&format=xml")

    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 3


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=[])), anything))
@example({"a": math.inf})
@example({"a": "\ud800"})
def test_any_object_is_read_as_it_is_or_refused_in_words(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    try:
        read = read_object(body)
    except BadFields as refused:
        _check(refused)
        return
    assert read == value
    assert "\\u0000" not in json.dumps(read)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ue01naN-.e+ \n', max_size=60))
def test_any_bytes_are_an_object_or_a_problem(body: bytes | str) -> None:
    try:
        read = read_object(body if isinstance(body, bytes) else body.encode())
    except Problem as refused:
        _check(refused)
        return
    assert isinstance(read, dict)


def _check(refused: Problem) -> None:
    """Assert that the refusal is an answer that can be sent."""
    assert refused.status_code == 400
    errors = getattr(refused, "errors", [])
    json.dumps([refused.sentence, errors], ensure_ascii=False).encode()
    assert refused.code == (errors[0]["code"] if errors else "invalid_json")
