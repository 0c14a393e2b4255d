"""Reading a skill from what somebody uploads: a SKILL.md, or a ZIP with one at its root.

Everything is looked at in memory and nothing is unpacked to a disk. What the archive says of a
file's size is not believed: each is read to its limit and no further.
"""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping

from skills_app.parsing.files import MAX_FILES, MAX_TOTAL, SKILL_MD, SKILL_MDS, assemble, skill_md
from skills_app.parsing.names import check_path, check_printable
from skills_app.parsing.skill_md import ParsedSkill, SkillRefused, parse_skill

MAX_UPLOAD = MAX_TOTAL + 1_000_000  # bytes: the largest skill as a ZIP that does not compress
MAX_ENTRIES = 4 * MAX_FILES  # files and folders, those that are left out included

_LOCAL_HEADER, _EMPTY = b"PK\x03\x04", b"PK\x05\x06"
_ENCRYPTED, _UTF_8 = 0x1, 0x800  # bits of an entry's flags (APPNOTE 4.4.4)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LEFT_OUT = ("__MACOSX",)  # what a Mac adds; like names that begin with a dot
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError)


def load_upload(data: bytes) -> ParsedSkill:
    """Return the skill that the uploaded file holds. Raises SkillRefused."""
    if len(data) > MAX_UPLOAD:
        raise SkillRefused(f"The upload is larger than {MAX_UPLOAD:,} bytes.")
    if not data.startswith((_LOCAL_HEADER, _EMPTY)):
        return parse_skill(skill_md(lambda most: data[: most + 1]))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries(archive)
            return assemble(
                entries, read=lambda name, most: _read(archive, entries[name], name, most)
            )
    except SkillRefused:
        raise
    except _BROKEN:
        raise SkillRefused("The ZIP is broken: it cannot be read to its end.") from None


def _entries(archive: zipfile.ZipFile) -> Mapping[str, zipfile.ZipInfo]:
    """Return the plain files by their paths, every entry checked before any is read."""
    listed = archive.infolist()
    if len(listed) > MAX_ENTRIES:
        raise SkillRefused(f"The ZIP has more than {MAX_ENTRIES} entries.")
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in listed:
        name = entry.orig_filename
        parts = _parts(entry)
        if _left_out(parts):
            continue
        check_path("/".join(parts))
        _check_kind(entry)
        if entry.is_dir():
            continue
        if name in found:
            raise SkillRefused(f"{name} is in the ZIP twice.")
        found[name] = entry
    if not any(each in found for each in SKILL_MDS):
        raise SkillRefused(_no_skill_md(found))
    return found


def _parts(entry: zipfile.ZipInfo) -> list[str]:
    """Return the path's parts, checked: it leads down, within the folder, in plain words."""
    name = entry.orig_filename
    check_printable(name)
    if not name.isascii() and not entry.flag_bits & _UTF_8:
        raise SkillRefused("A file's name is neither plain ASCII nor marked as UTF-8.")
    parts = name.removesuffix("/").split("/")
    if "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise SkillRefused(f"{name} is no path within the skill's folder.")
    return parts


def _left_out(parts: list[str]) -> bool:
    return parts[0] in _LEFT_OUT or any(part.startswith(".") for part in parts)


def _check_kind(entry: zipfile.ZipInfo) -> None:
    name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise SkillRefused(f"{name} is a link; a skill holds plain files.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise SkillRefused(f"{name} is no plain file.")
    if entry.flag_bits & _ENCRYPTED:
        raise SkillRefused(f"{name} is encrypted.")
    if entry.compress_type not in _METHODS:
        raise SkillRefused(f"{name} is packed in a way that is not taken; use plain ZIP.")


def _no_skill_md(found: Mapping[str, zipfile.ZipInfo]) -> str:
    """Say where the SKILL.md lies, if anywhere."""
    elsewhere = next(_folders_of(found), "")
    if not elsewhere:
        return f"The ZIP holds no {SKILL_MD}."
    return f"The {SKILL_MD} lies in {elsewhere}; zip what is in that folder, not the folder."


def _folders_of(found: Mapping[str, zipfile.ZipInfo]) -> Iterator[str]:
    return (
        name.removesuffix(main)
        for name in sorted(found)
        for main in SKILL_MDS
        if name.endswith(f"/{main}")
    )


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, most: int) -> bytes:
    with archive.open(entry) as file:
        data = file.read(most + 1)
        if len(data) <= most:
            file.read(1)  # the end, where the checksum is looked at
        return data
