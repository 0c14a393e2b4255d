"""The guide says all that the description and the code know: operations, options, codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client

from caylex_project.web.http_problem import BY_STATUS
from tasks_app.api.openapi.docs_page import openapi_yaml
from tasks_app.api.openapi.error_codes import CODES

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = (ROOT / "docs" / "api.md").read_text()
MAKERS = {"Problem", "ErrorTemplate", "FieldError", "_refused"}
SOURCES = [
    path
    for package in ("caylex_project", "tasks_app")
    for path in (ROOT / package).rglob("*.py")
    if not {"migrations", "openapi"} & set(path.parts)
]

description: dict[str, Any] = yaml.safe_load(openapi_yaml())
operations = {
    f"{method.upper()} {path}": operation
    for path, methods in description["paths"].items()
    for method, operation in methods.items()
}


def codes_in(source: str) -> Iterator[str]:
    """Yield the codes that a module gives to errors: by name, and in tuples behind a status."""
    for node in ast.walk(ast.parse(source)):
        given: list[ast.expr] = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "PydanticCustomError":
            given = node.args[:1]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
            given = [each.value for each in node.keywords if each.arg == "code"]
        elif isinstance(node, ast.Tuple) and len(node.elts) > 1:
            status = node.elts[0]
            if isinstance(status, ast.Constant) and status.value in range(400, 600):
                given = node.elts[1:2]
        values = [each.value for each in given if isinstance(each, ast.Constant)]
        yield from (value for value in values if isinstance(value, str))


def tabled() -> dict[str, int]:
    """Return the codes of the guide's table of errors, each with its status."""
    table = GUIDE.partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d{3}) \| (.+?) \| ", table, re.MULTILINE)
    return {code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}


@pytest.mark.parametrize("operation", operations)
def test_every_operation_stands_in_the_guide_with_its_options(operation: str) -> None:
    assert operation in GUIDE
    for each in operations[operation]["parameters"]:
        assert f"`{each['name']}" in GUIDE or f"?{each['name']}=" in GUIDE, each["name"]
    body = operations[operation].get("requestBody")
    if body is not None:
        reference = body["content"]["application/json"]["schema"]["$ref"]
        fields = description["components"]["schemas"][reference.rpartition("/")[2]]
        for name in fields.get("properties", {}):
            assert f"`{name}`" in GUIDE or f'"{name}"' in GUIDE, name


def test_every_code_stands_in_the_guide_with_its_status_and_on_the_page() -> None:
    assert tabled() == {code: status for code, (status, _) in CODES.items()}
    page = Client().get("/api/v1/docs").content.decode()
    assert re.findall(r'<dt id="(\w+)">', page) == list(CODES)


def test_every_code_that_is_given_to_an_error_is_a_known_one() -> None:
    given = {code for path in SOURCES for code in codes_in(path.read_text())}
    assert {"too_many_pending", "body_too_large", "invalid_email", "metadata_full"} <= given
    assert given <= CODES.keys()
    assert {status: plain.code for status, plain in BY_STATUS.items()}.items() <= {
        (status, code) for code, (status, _) in CODES.items()
    }


def test_every_status_of_the_description_stands_in_the_guide() -> None:
    described = {int(each) for operation in operations.values() for each in operation["responses"]}
    assert {each for each in described if each >= 400} <= set(tabled().values())
    for each in described:
        assert str(each) in GUIDE, each
