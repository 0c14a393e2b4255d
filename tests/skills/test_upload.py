"""A skill as an upload: what is read, what is refused, and by which sentence."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skills_app.parsing.files import MAX_FILE, MAX_FILES
from skills_app.parsing.skill_md import SkillRefused
from skills_app.parsing.upload import MAX_ENTRIES, MAX_UPLOAD, load_upload
from tests.skills.test_skill_md import skill

Entry = tuple[str | zipfile.ZipInfo, bytes]
GOOD: tuple[Entry, ...] = (("SKILL.md", skill().encode()), ("refs/style.md", b"Short."))


def packed(*entries: Entry, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP of these entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return out.getvalue()


def of_kind(name: str, mode: int) -> zipfile.ZipInfo:
    """Return an entry that a Unix made, of that mode."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


def refused(data: bytes) -> str:
    """Return the sentence with which the upload is refused."""
    with pytest.raises(SkillRefused) as found:
        load_upload(data)
    return str(found.value)


def test_a_skill_md_by_itself_and_a_zip_are_read() -> None:
    assert load_upload(skill().encode()).files == {}
    more: tuple[Entry, ...] = (
        *GOOD,
        ("refs/", b""),
        ("prägnant.md", "Prägnant.\r\n".encode()),
        ("__MACOSX/._SKILL.md", b"\x00\xff"),
        (".git/config", b"\xff"),
    )

    read = load_upload(packed(*more))

    assert (read.slug, read.body) == ("report", "Do it.")
    assert read.files == {"refs/style.md": "Short.", "prägnant.md": "Prägnant.\n"}


def test_a_zip_takes_what_a_folder_takes_up_to_the_same_limits() -> None:
    noise = [os.urandom(MAX_FILE - 1) for _ in range(4)]  # does not compress
    more: tuple[Entry, ...] = tuple((f"assets/{n}.bin", each) for n, each in enumerate(noise))

    data = packed(("skill.md", skill().encode()), *more)
    read = load_upload(data)

    assert len(data) <= MAX_UPLOAD
    assert [each.data for each in read.assets.values()] == noise


OUTSIDE = "no path within the skill's folder."
ODD: dict[str, tuple[tuple[Entry, ...], str]] = {
    "traversal": ((*GOOD, ("../evil.md", b"x")), f"../evil.md is {OUTSIDE}"),
    "traversal within": ((*GOOD, ("a/../../evil.md", b"x")), f"a/../../evil.md is {OUTSIDE}"),
    "absolute": ((*GOOD, ("/etc/evil.md", b"x")), f"/etc/evil.md is {OUTSIDE}"),
    "backslash": ((*GOOD, ("a\\..\\evil.md", b"x")), f"a\\..\\evil.md is {OUTSIDE}"),
    "drive": ((*GOOD, ("C:/evil.md", b"x")), f"C:/evil.md is {OUTSIDE}"),
    "no name": ((*GOOD, ("a//b.md", b"x")), f"a//b.md is {OUTSIDE}"),
    "link": (
        (*GOOD, (of_kind("in.md", stat.S_IFLNK | 0o777), b"/etc/passwd")),
        "in.md is a link; a skill holds plain files.",
    ),
    "link in place of SKILL.md": (
        ((of_kind("SKILL.md", stat.S_IFLNK | 0o777), b"/etc/passwd"),),
        "SKILL.md is a link; a skill holds plain files.",
    ),
    "pipe": ((*GOOD, (of_kind("in.md", stat.S_IFIFO), b"")), "in.md is no plain file."),
    "right-to-left name": (
        (*GOOD, ("a\u202edm.exe", b"x")),
        "A file's path must be printable, with at most 200 characters.",
    ),
    "long name": (
        (*GOOD, ("x" * 201, b"x")),
        "A file's path must be printable, with at most 200 characters.",
    ),
    "deep": (
        (*GOOD, ("a/" * 9 + "x.md", b"x")),
        "a/a/a/a/a/a/a/a/a lies too deep: at most 8 folders.",
    ),
    "many": (
        (*GOOD, *((f"{n}.md", b"x") for n in range(MAX_FILES))),
        f"The folder holds more than {MAX_FILES} files.",
    ),
    "ten thousand": (
        (*GOOD, *((f".h/{n}", b"") for n in range(10_000))),
        f"The ZIP has more than {MAX_ENTRIES} entries.",
    ),
    "bomb": ((*GOOD, ("a.md", b"0" * 30_000_000)), f"a.md is larger than {MAX_FILE:,} bytes."),
    "bomb of many": (
        (*GOOD, *((f"{n}.md", b"0" * MAX_FILE) for n in range(20))),
        "The files are larger than 20,000,000 bytes together.",
    ),
    "one name in two cases": (
        (*GOOD, ("Refs/style.md", b"x")),
        "Refs/style.md and refs/style.md are one file on some disks; rename one.",
    ),
    "one name in two forms": (
        (*GOOD, ("é.md", b"x"), ("e\u0301.md", b"x")),
        "'e\\u0301.md' and '\\xe9.md' are one file on some disks; rename one.",
    ),
    "a file and a folder": (
        (*GOOD, ("a", b"x"), ("a/b.md", b"x")),
        "a is a file where a/b.md needs a folder; rename one.",
    ),
    "a device": ((*GOOD, ("con.md", b"x")), "con.md: con.md is the name of a device on Windows."),
    "a space at the end": (
        (*GOOD, ("refs /a.md", b"x")),
        "refs /a.md: a name begins or ends with a space, or ends with a dot.",
    ),
    "nothing": ((), "The ZIP holds no SKILL.md."),
    "in a folder": (
        (("report/SKILL.md", b"x"),),
        "The SKILL.md lies in report/; zip what is in that folder, not the folder.",
    ),
    "no front matter": (
        (("SKILL.md", b"Do it."),),
        "SKILL.md must begin with its frontmatter, after a line of '---'.",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_zip_is_refused_with_a_sentence(kind: str) -> None:
    entries, sentence = ODD[kind]

    assert refused(packed(*entries)) == sentence


def doubled() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return packed(*GOOD, ("refs/style.md", b"Another."))


def encrypted() -> bytes:
    return packed(*GOOD).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )


def not_utf_8() -> bytes:
    data = packed(*GOOD, ("prägnant.md", b"x"))
    place = data.rindex(b"PK\x01\x02")
    return data[: place + 8] + struct.pack("<H", 0) + data[place + 10 :]


BYTES: dict[str, tuple[Callable[[], bytes], str]] = {
    "too large": (lambda: b"x" * (MAX_UPLOAD + 1), "The upload is larger than 21,000,000 bytes."),
    "another kind of file": (
        lambda: b"\x89PNG\r\n",
        "SKILL.md is not a text in UTF-8.",
    ),
    "twice": (doubled, "refs/style.md is in the ZIP twice."),
    "encrypted": (encrypted, "SKILL.md is encrypted."),
    "names of an old code page": (
        not_utf_8,
        "A file's name is neither plain ASCII nor marked as UTF-8.",
    ),
    "packed oddly": (
        lambda: packed(*GOOD, method=zipfile.ZIP_BZIP2),
        "SKILL.md is packed in a way that is not taken; use plain ZIP.",
    ),
    "cut": (
        lambda: packed(*GOOD)[:-40],
        "The ZIP is broken: it cannot be read to its end.",
    ),
    "a wrong checksum": (
        lambda: packed(*GOOD, method=zipfile.ZIP_STORED).replace(b"Short.", b"Wrong."),
        "The ZIP is broken: it cannot be read to its end.",
    ),
}


@pytest.mark.parametrize("kind", BYTES)
def test_an_upload_that_is_no_good_zip_is_refused_with_a_sentence(kind: str) -> None:
    make, sentence = BYTES[kind]

    assert refused(make()) == sentence


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_done_to_a_zip_it_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(packed(*GOOD))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    before = sorted(os.listdir("."))

    with contextlib.suppress(SkillRefused):
        assert load_upload(bytes(whole)).slug == "report"
    assert sorted(os.listdir(".")) == before
