"""docs/monitoring.md names all that there is to alert on, and nothing that there is not."""

import ast
import re
from pathlib import Path

import pytest

from tasks_app.monitoring import metrics

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "monitoring.md").read_text()


def finding_codes() -> set[str]:
    """Return the codes as the sources write them."""
    return {
        str(keyword.value.value)
        for name in ("findings", "diagnose")
        for node in ast.walk(ast.parse((ROOT / "tasks_app/monitoring" / f"{name}.py").read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }


@pytest.mark.django_db
def test_every_metric_is_on_the_page_and_every_metric_of_the_page_exists() -> None:
    told = {family.name for family in metrics.DatabaseCollector().collect()}
    assert len(told) > 10
    assert set(re.findall(r"\bcaylex_[a-z_]+", PAGE)) == told


def test_every_code_of_the_doctor_is_on_the_page_and_the_other_way_round() -> None:
    listed = set(re.findall(r"^\| `([a-z_]+)` \| (?:note|warning|critical)", PAGE, re.MULTILINE))
    assert listed == finding_codes()
