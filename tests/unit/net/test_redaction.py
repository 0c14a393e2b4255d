"""A secret is taken out of a text in every encoding that the module names, and nothing else."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.net.redaction import Redactor

SECRET = 'Tr0ub4dor&3/p@ss+word="x'
REDACTOR = Redactor(secrets=[SECRET], replacement="[removed]")


def every_percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def wrapped(text: str, width: int = 16, end: str = "\r\n") -> str:
    return end.join(text[at : at + width] for at in range(0, len(text), width))


def in_json(text: str, *, levels: int) -> str:
    for _ in range(levels):
        text = json.dumps(text)[1:-1]
    return text


ENCODED = {
    "raw": SECRET,
    "upper case": SECRET.upper(),
    "lower case": SECRET.lower(),
    "percent where it has to be": quote(SECRET, safe=""),
    "percent, lower": quote(SECRET, safe="").lower(),
    "percent, every character": every_percent(SECRET),
    "percent, every character, lower": every_percent(SECRET).lower(),
    "percent, twice": every_percent(SECRET).replace("%", "%25"),
    "form": quote_plus(SECRET),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON in JSON": json.dumps(json.dumps(SECRET))[3:-3],
    "uXXXX": "".join(f"\\u{ord(each):04x}" for each in SECRET),
    "uXXXX, upper": "".join(f"\\u{ord(each):04X}" for each in SECRET),
    "xXX": "".join(f"\\x{ord(each):02x}" for each in SECRET),
    "HTML": html.escape(SECRET),
    "HTML numbers": "".join(f"&#{ord(each)};" for each in SECRET),
    "HTML hex numbers": "".join(f"&#x{ord(each):x};" for each in SECRET),
    "uXXXX with escaped zero width spaces": "\\u200b".join(SECRET),
    "escaped control characters": "\\u0000".join(SECRET),
    "control characters": "\x00".join(SECRET),
    "JSON four levels deep": in_json(SECRET, levels=4),
    "zero width space": "\u200b".join(SECRET),
    "byte order marks and soft hyphens": "\ufeff\u00ad".join(SECRET),
    "hex": SECRET.encode().hex(),
    "hex, upper": SECRET.encode().hex().upper(),
    "hex in groups": SECRET.encode().hex(" "),
    "hex in lines": wrapped(SECRET.encode().hex()),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 without padding": base64.b64encode(SECRET.encode()).decode().rstrip("="),
    "base64url": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "base64 in lines": wrapped(base64.b64encode(SECRET.encode()).decode()),
    "base64 in escaped lines": wrapped(base64.b64encode(SECRET.encode()).decode(), end="\\r\\n"),
    "base64 in percent": quote(base64.b64encode(SECRET.encode()).decode(), safe=""),
}


@pytest.mark.parametrize("form", ENCODED.values(), ids=ENCODED)
def test_an_encoded_secret_is_replaced_and_its_neighbours_stay(form: str) -> None:
    assert REDACTOR.redact(form) in ("[removed]", "[removed]=")
    around = REDACTOR.redact(f"before {form} after")
    assert around.replace("]=", "]") == "before [removed] after"


@pytest.mark.parametrize("before", ["", "a", "ab", "user:"])
@pytest.mark.parametrize("after", ["", "z", "yz", ":x"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_found_at_any_alignment(before: str, after: str, encode: object) -> None:
    assert callable(encode)
    form = encode(f"{before}{SECRET}{after}".encode()).decode()
    for text in (form, wrapped(form, 10, "\n")):
        redacted = REDACTOR.redact(text)
        assert redacted.count("[removed]") == 1
        left = redacted.replace("[removed]", "")
        assert len(left) <= len(form) - len(base64.b64encode(SECRET.encode())) + 8


def test_two_encodings_in_one_text_are_both_replaced() -> None:
    text = f"{SECRET}, {SECRET.encode().hex()} and {every_percent(SECRET)}."
    assert REDACTOR.redact(text) == "[removed], [removed] and [removed]."


def test_a_secret_that_looks_escaped_is_found_as_it_is() -> None:
    redactor = Redactor(secrets=["ab%41cd\\u0041ef"], replacement="-")
    assert redactor.redact("x ab%41cd\\u0041ef y") == "x - y"


def test_secrets_that_overlap_leave_nothing_of_each_other() -> None:
    redactor = Redactor(secrets=["alpha-beta", "beta-gamma"], replacement="-")
    assert redactor.redact("alpha-beta-gamma") == "-"


@pytest.mark.parametrize(
    "text",
    ["", "nothing here", "Tr0ub4dor", "%41%42 \\u0041 &amp; 4142", "ü" * 50, "a" * 100_000],
)
def test_a_text_without_a_secret_comes_back_as_the_same_object(text: str) -> None:
    assert REDACTOR.redact(text) is text


def test_no_secret_or_a_short_one_changes_nothing() -> None:
    redactor = Redactor(secrets=["", "abc"], replacement="-")
    text = "abc and an empty one"
    assert redactor.redact(text) is text


def test_nested_json_is_redacted_in_values_and_keys() -> None:
    value = {"a": [SECRET, 1, None], SECRET: {"b": f"x {SECRET}"}}
    assert REDACTOR.redact_json(value) == {
        "a": ["[removed]", 1, None],
        "[removed]": {"b": "x [removed]"},
    }
    clean = {"a": ["b", 1, None, {"c": "d"}]}
    assert REDACTOR.redact_json(clean) is clean


def test_the_redactor_prints_no_secret() -> None:
    assert repr(REDACTOR) == "Redactor()"


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_stands_around_a_secret_it_goes(before: str, after: str) -> None:
    assert SECRET.lower() not in REDACTOR.redact(before + SECRET + after).lower()


def test_the_time_grows_with_the_text_and_not_with_its_square() -> None:
    def seconds(rows: int) -> float:
        row = {"name": '"a"\n', "share": "50%25"}
        text = json.dumps([row] * rows) + every_percent(SECRET)
        began = time.process_time()
        assert REDACTOR.redact(text).endswith("[removed]")
        return time.process_time() - began

    seconds(1_000)
    assert seconds(32_000) < 100 * seconds(2_000)  # 16 if linear, 256 if quadratic
