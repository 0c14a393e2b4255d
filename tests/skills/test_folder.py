"""A skill's folder on disk: plain text files, and nothing outside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skills_app import assembly
from skills_app.folder import load_skill
from skills_app.skillmd import SkillRefused
from tests.skills.test_skillmd import skill


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a SKILL.md, beside a file that is nobody's business."""
    (tmp_path / "outside.txt").write_text("do not read")
    made = tmp_path / "report"
    made.mkdir()
    (made / "SKILL.md").write_text(skill())
    return made


def test_text_files_come_along_by_their_path(place: Path) -> None:
    (place / "refs" / "deep").mkdir(parents=True)
    (place / "refs" / "deep" / "style.md").write_bytes("Prägnant.\r\n".encode())
    (place / ".git").mkdir()
    (place / ".git" / "config").write_bytes(b"\xff")
    (place / ".DS_Store").write_bytes(b"\x00")

    assert load_skill(place).files == {"refs/deep/style.md": "Prägnant.\n"}


def test_a_skill_md_by_itself_is_a_skill_without_files(place: Path) -> None:
    (place / "other.md").write_text("not read")

    assert load_skill(place / "SKILL.md").files == {}


def refused(path: Path) -> str:
    """The sentence with which the path is refused."""
    with pytest.raises(SkillRefused) as found:
        load_skill(path)
    return str(found.value)


def test_links_are_refused_wherever_they_point(place: Path) -> None:
    (place / "in.md").symlink_to(place.parent / "outside.txt")
    assert refused(place) == "in.md is a link; a skill holds plain files."
    (place / "in.md").unlink()
    (place / "up").symlink_to(place.parent)
    assert refused(place) == "up is a link; a skill holds plain files."


def test_a_linked_skill_md_is_refused(place: Path) -> None:
    (place / "SKILL.md").unlink()
    (place / "SKILL.md").symlink_to(place.parent / "outside.txt")

    assert "link" in refused(place)
    assert "SKILL.md cannot be read" in refused(place / "SKILL.md")


def test_a_pipe_is_refused_without_waiting_for_it(place: Path) -> None:
    os.mkfifo(place / "pipe")

    assert refused(place) == "pipe is no plain file."


def test_what_is_no_text_is_refused(place: Path) -> None:
    (place / "logo.png").write_bytes(b"\x89PNG\xff")
    assert refused(place) == "logo.png is not a text in UTF-8; a skill holds text alone."
    (place / "logo.png").write_bytes(b"a\x00b")
    assert refused(place) == "logo.png holds control characters; it must be plain text."


def test_odd_names_are_refused(place: Path) -> None:
    (place / "a\nb.md").write_text("x")

    assert "must be printable" in refused(place)


def test_too_many_files_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MAX_FILES", 3)
    for number in range(3):
        (place / f"{number}.md").write_text("x")
    assert len(load_skill(place).files) == 3

    (place / "3.md").write_text("x")
    assert refused(place) == "The folder holds more than 3 files."


def test_a_large_file_is_refused(place: Path) -> None:
    (place / "big.md").write_text("x" * 200_001)

    assert refused(place) == "big.md is larger than 200,000 bytes."


def test_many_large_files_are_refused(place: Path) -> None:
    for number in range(11):
        (place / f"{number}.md").write_text("x" * 190_000)

    assert refused(place) == "The files are larger than 2,000,000 bytes together."


def test_deep_folders_are_refused(place: Path) -> None:
    deep = place.joinpath(*"abcdefghi")
    deep.mkdir(parents=True)

    assert "lies too deep" in refused(place)


@pytest.mark.parametrize("name", ["nowhere", "x" * 5000, "outside.txt"])
def test_what_is_neither_a_folder_nor_a_skill_md_is_refused(place: Path, name: str) -> None:
    assert refused(place.parent / name).endswith(".")


def test_a_folder_without_skill_md_is_refused(place: Path) -> None:
    (place / "SKILL.md").rename(place / "skill.txt")

    assert refused(place) == "The folder holds no SKILL.md."
