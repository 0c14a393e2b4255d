"""What a tool server sends back is scrubbed in every encoding that `redaction` knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_runtime.mcp.results import render_error, render_result
from agent_runtime.net.scrubber import REMOVED, Scrubber
from tests.unit.net.test_redaction import ENCODED, SECRET, in_json

SCRUBBER = Scrubber(secrets=[SECRET])
# The places of a result that reach the model, as what is sent.
PLACES: dict[str, Any] = {
    "a text": lambda text: {"content": [{"type": "text", "text": text}]},
    "a resource": lambda text: {
        "content": [{"type": "resource", "resource": {"uri": "a:b", "text": text}}]
    },
    "an unknown block": lambda text: {"content": [{"type": "odd", "x": text}]},
    "structured content": lambda text: {"structuredContent": {"a": text}},
    "a key": lambda text: {"structuredContent": {text: 1}},
    "JSON in structured content": lambda text: {
        "structuredContent": {"a": json.dumps({"b": text})}
    },
}
FORMS = {name: form for name, form in ENCODED.items() if form != in_json(SECRET, levels=4)}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_result_holds_no_secret_in_any_encoding(place: Any, form: str) -> None:
    shown = render_result(result=place(f"before {form} after"), scrubber=SCRUBBER).text
    assert shown.count(REMOVED) == 1
    assert f"before {REMOVED}" in shown
    assert shown.partition(REMOVED)[2].lstrip("=").startswith(" after")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_error_holds_no_secret_in_any_encoding(form: str) -> None:
    shown = render_error(message=f"no such key: {form}", scrubber=SCRUBBER).text
    assert shown.rstrip("=").endswith(f"no such key: {REMOVED}")
