"""A skill's folder on disk: what is read, what is kept aside, and nothing outside it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from skills_app.parsing import files
from skills_app.parsing.folder import load_skill
from skills_app.parsing.skill_md import SkillRefused
from tests.skills.test_skill_md import skill


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


PNG = b"\x89PNG\xff"


def test_what_is_no_text_is_kept_aside_with_its_type_and_size(place: Path) -> None:
    (place / "assets").mkdir()
    (place / "assets" / "logo.png").write_bytes(PNG)
    (place / "NUL-inside.txt").write_bytes(b"a\x00b")
    (place / "style.md").write_text("Short.")

    found = load_skill(place)

    assert found.files == {"style.md": "Short."}
    text, logo = found.assets["NUL-inside.txt"], found.assets["assets/logo.png"]
    assert (text.media_type, text.size, text.data) == ("text/plain", 3, b"a\x00b")
    assert (logo.media_type, logo.size, logo.data) == ("image/png", 5, PNG)
    assert logo.sha256 == hashlib.sha256(PNG).hexdigest()
    (note,) = found.notes
    assert note == (
        "Kept aside because an agent cannot read them (not text, or too large): NUL-inside.txt "
        "(text/plain, 3 bytes), assets/logo.png (image/png, 5 bytes)."
    )


def test_a_note_names_five_files_and_counts_the_others(place: Path) -> None:
    for number in range(7):
        (place / f"{number}.bin").write_bytes(b"\xff")

    (note,) = load_skill(place).notes

    assert note.endswith("4.bin (application/octet-stream, 1 bytes), and 2 more.")


def test_odd_names_are_refused(place: Path) -> None:
    (place / "a\nb.md").write_text("x")

    assert "must be printable" in refused(place)


def test_too_many_files_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    for number in range(3):
        (place / f"{number}.md").write_text("x")
    assert len(load_skill(place).files) == 3

    (place / "3.md").write_text("x")
    assert refused(place) == "The folder holds more than 3 files."


def test_a_text_that_is_too_large_to_be_read_is_kept_aside(place: Path) -> None:
    (place / "big.xsd").write_text("x" * 200_001)
    (place / "just.md").write_text("x" * 200_000)

    found = load_skill(place)

    assert list(found.files) == ["just.md"]
    assert [(path, each.said) for path, each in found.assets.items()] == [
        ("big.xsd", "application/xml, 200,001 bytes")
    ]


def test_of_many_texts_the_largest_are_kept_aside_until_the_rest_can_be_read(place: Path) -> None:
    for number in range(11):
        (place / f"{number:02}.md").write_text("x" * (190_000 + number))
    (place / "small.md").write_text("x")

    found = load_skill(place)

    assert list(found.assets) == ["10.md"]
    assert len(found.files) == 11


def test_a_file_over_five_megabytes_is_refused_and_one_of_five_is_not(place: Path) -> None:
    (place / "model.bin").write_bytes(b"\xff" * 5_000_000)
    assert load_skill(place).assets["model.bin"].size == 5_000_000

    (place / "model.bin").write_bytes(b"\xff" * 5_000_001)
    assert refused(place) == "model.bin is larger than 5,000,000 bytes."


def test_more_than_twenty_megabytes_together_are_refused(place: Path) -> None:
    for number in range(4):
        (place / f"{number}.bin").write_bytes(b"\xff" * 5_000_000)
    assert len(load_skill(place).assets) == 4

    (place / "one-more.md").write_text("x")
    assert refused(place) == "The files are larger than 20,000,000 bytes together."


def test_a_skill_md_in_lower_case_is_taken_alone_and_in_its_folder(place: Path) -> None:
    (place / "SKILL.md").rename(place / "skill.md")

    assert load_skill(place).slug == load_skill(place / "skill.md").slug == "report"
    assert load_skill(place).files == {}

    (place / "SKILL.md").write_text(skill())
    assert refused(place) == "SKILL.md and skill.md are one file on some disks; rename one."


def test_a_folder_within_the_folder_limit_is_walked_to_its_end(place: Path) -> None:
    deep = place.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "x.md").write_text("x")

    assert list(load_skill(place).files) == ["a/b/c/d/e/f/g/h/x.md"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["A.md", "a.md"], "A.md and a.md are one file on some disks; rename one."),
        (
            ["é.md", "e\u0301.md"],
            "'e\\u0301.md' and '\\xe9.md' are one file on some disks; rename one.",
        ),
        (["ß.md", "SS.md"], "SS.md and '\\xdf.md' are one file on some disks; rename one."),
        (["refs", "REFS/a.md"], "refs is a file where REFS/a.md needs a folder; rename one."),
        (["CON"], "CON: CON is the name of a device on Windows."),
        (["refs/nul.tar.gz"], "refs/nul.tar.gz: nul.tar.gz is the name of a device on Windows."),
        (["com1 .md"], "com1 .md: com1 .md is the name of a device on Windows."),
        (["LPT²"], "LPT²: LPT² is the name of a device on Windows."),
        (["a.md "], "a.md : a name begins or ends with a space, or ends with a dot."),
        ([" a.md"], " a.md: a name begins or ends with a space, or ends with a dot."),
        (["refs./a.md"], "refs.: a name begins or ends with a space, or ends with a dot."),
        (["a:b.md"], 'a:b.md holds one of <>:"|?*\\, which Windows cannot keep.'),
        (["what?.md"], 'what?.md holds one of <>:"|?*\\, which Windows cannot keep.'),
        (["a\\b.md"], 'a\\b.md holds one of <>:"|?*\\, which Windows cannot keep.'),
    ],
)
def test_names_that_some_disk_cannot_keep_are_refused(
    place: Path, names: list[str], sentence: str
) -> None:
    for name in names:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("x")

    assert refused(place) == sentence


@pytest.mark.parametrize("name", ["console.md", "com.md", "a.con", "nul-and-void.md", "com10"])
def test_names_that_only_look_like_it_are_taken(place: Path, name: str) -> None:
    (place / name).write_text("x")

    assert list(load_skill(place).files) == [name]


def test_a_name_of_a_mac_is_stored_and_found_in_the_one_usual_form(place: Path) -> None:
    (place / "pra\u0308gnant.md").write_text("x")

    assert list(load_skill(place).files) == ["prägnant.md"]


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
