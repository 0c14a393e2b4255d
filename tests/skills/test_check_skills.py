"""`manage.py check_skills`: which skills load and why not, with nothing stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.skills.test_skill_md import skill
from tests.skills.test_upload import GOOD, packed


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of folders: two skills that load, one that does not, and what is no skill."""
    for name, text in (
        ("a/good", skill()),
        ("a/good/nested", skill(name="nested")),
        ("b/broken", "---\nname: x\n---\nDo it."),
        (".agents/skills/one", skill(name="one")),
        (".git/two", skill()),
        ("node_modules/x", skill()),
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "SKILL.md").write_text(text)
    (tmp_path / "b" / "README.md").write_text("x")
    (tmp_path / "a" / "good" / "logo.png").write_bytes(b"\x89PNG\xff")
    return tmp_path


REFUSED = "The frontmatter needs a description, as text."


def test_each_skill_below_a_path_is_told_with_what_is_wrong(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match=r"^1 refused\.$") as refused:
        call_command("check_skills", str(place))

    assert refused.value.returncode == 1
    aside = "Kept aside because an agent cannot read them (not text, or too large): "
    assert capsys.readouterr().out.splitlines() == [
        f"loads    {place}/.agents/skills/one: one",
        f"loads    {place}/a/good: report",
        f"         {aside}logo.png (image/png, 5 bytes).",
        f"loads    {place}/a/good/nested: nested",
        f"refused  {place}/b/broken: {REFUSED}",
        "3 of 4 skills load.",
    ]


def test_it_can_be_told_to_programs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CommandError):
        call_command(
            "check_skills", str(place / "a" / "good" / "nested"), str(place / "b"), "--json"
        )

    told: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert told == [
        {"path": f"{place}/a/good/nested", "slug": "nested", "refused": None, "notes": []},
        {"path": f"{place}/b/broken", "slug": None, "refused": REFUSED, "notes": []},
    ]


def test_a_zip_and_a_skill_md_are_checked_like_a_folder(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "report.zip").write_bytes(packed(*GOOD))
    call_command("check_skills", str(place / "report.zip"), str(place / "a" / "good" / "SKILL.md"))

    assert capsys.readouterr().out.splitlines()[-1] == "2 of 2 skills load."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("empty", "No skill was found."), ("nowhere", "1 refused."), ("nowhere.zip", "1 refused.")],
)
def test_a_path_without_a_skill_is_no_success(place: Path, name: str, sentence: str) -> None:
    (place / "empty").mkdir()

    with pytest.raises(CommandError) as refused:
        call_command("check_skills", str(place / name))
    assert str(refused.value) == sentence
