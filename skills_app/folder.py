"""Reading a skill from a folder, or from a SKILL.md alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from skills_app.skillmd import MAX_SKILL_MD, ParsedSkill, SkillRefused, fit_text, parse_skill

SKILL_MD = "SKILL.md"
MAX_FILES = 200
MAX_FILE = 200_000  # bytes
MAX_TOTAL = 2_000_000  # bytes of all files together
MAX_DEPTH = 8  # folders within folders
MAX_PATH = 200  # characters


def load_skill(path: Path) -> ParsedSkill:
    """Return the skill in a folder with its text files, or that of a SKILL.md by itself.

    Names that begin with a dot are left out. Links, devices, files that are not UTF-8 text
    and too many or too large ones are refused. Nothing outside the folder is read.
    Raises SkillRefused.
    """
    try:
        alone, folder = path.name == SKILL_MD and path.is_file(), path.is_dir()
    except OSError as error:
        raise SkillRefused(f"The path cannot be read: {error.strerror}.") from None
    if alone:
        return parse_skill(_read(path, SKILL_MD, 4 * MAX_SKILL_MD))
    if not folder:
        raise SkillRefused("There is no such folder, and no SKILL.md of that path.")
    files: dict[str, str] = {}
    total = 0
    text: str | None = None
    for name in sorted(_walk(path, prefix="", depth=0)):
        if name == SKILL_MD:
            text = _read(path / name, name, 4 * MAX_SKILL_MD)
            continue
        if len(files) == MAX_FILES:
            raise SkillRefused(f"The folder holds more than {MAX_FILES} files.")
        files[name] = _read(path / name, name, MAX_FILE)
        total += len(files[name].encode())
        if total > MAX_TOTAL:
            raise SkillRefused(f"The files are larger than {MAX_TOTAL:,} bytes together.")
    if text is None:
        raise SkillRefused(f"The folder holds no {SKILL_MD}.")
    return parse_skill(text, files=files)


def _walk(folder: Path, *, prefix: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise SkillRefused(f"{prefix} lies too deep: at most {MAX_DEPTH} folders.")
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise SkillRefused(f"{prefix or 'The folder'} cannot be read: {error.strerror}.") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name = prefix + entry.name
        if len(name) > MAX_PATH or not name.isprintable():
            raise SkillRefused(
                f"A file's path must be printable, with at most {MAX_PATH} characters."
            )
        if entry.is_symlink():
            raise SkillRefused(f"{name} is a link; a skill holds plain files.")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, prefix=f"{name}/", depth=depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield name
        else:
            raise SkillRefused(f"{name} is no plain file.")


def _read(path: Path, name: str, most: int) -> str:
    try:
        # Neither follows a link that was put there since, nor waits for a pipe's other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SkillRefused(f"{name} is no plain file.")
            data = file.read(most + 1)
    except OSError as error:
        raise SkillRefused(f"{name} cannot be read: {error.strerror}.") from None
    if len(data) > most:
        raise SkillRefused(f"{name} is larger than {most:,} bytes.")
    try:
        return fit_text(data.decode(), what=name)
    except UnicodeDecodeError:
        raise SkillRefused(f"{name} is not a text in UTF-8; a skill holds text alone.") from None
