"""Reading a skill from a folder, or from a SKILL.md alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from skills_app.parsing.files import SKILL_MDS, assemble, skill_md
from skills_app.parsing.names import check_depth, check_path
from skills_app.parsing.skill_md import ParsedSkill, SkillRefused, parse_skill


def load_skill(path: Path) -> ParsedSkill:
    """Return the skill in a folder with its files, or that of a SKILL.md by itself.

    Names that begin with a dot are left out. Links, devices, names that some disk cannot keep,
    and too many or too large files are refused. Nothing outside the folder is read.
    Raises SkillRefused.
    """
    try:
        alone, folder = path.name in SKILL_MDS and path.is_file(), path.is_dir()
    except OSError as error:
        raise SkillRefused(f"The path cannot be read: {error.strerror}.") from None
    if alone:
        return parse_skill(skill_md(lambda most: _read(path, path.name, most)))
    if not folder:
        raise SkillRefused("There is no such folder, and no SKILL.md of that path.")
    return assemble(
        list(_walk(path, prefix="", depth=0)),
        read=lambda name, most: _read(path / name, name, most),
    )


def _walk(folder: Path, *, prefix: str, depth: int) -> Iterator[str]:
    check_depth(prefix, depth)
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise SkillRefused(f"{prefix or 'The folder'} cannot be read: {error.strerror}.") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name = prefix + entry.name
        check_path(name)
        if entry.is_symlink():
            raise SkillRefused(f"{name} is a link; a skill holds plain files.")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, prefix=f"{name}/", depth=depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield name
        else:
            raise SkillRefused(f"{name} is no plain file.")


def _read(path: Path, name: str, most: int) -> bytes:
    try:
        # Neither follows a link that was put there since, nor waits for a pipe's other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SkillRefused(f"{name} is no plain file.")
            return file.read(most + 1)
    except OSError as error:
        raise SkillRefused(f"{name} cannot be read: {error.strerror}.") from None
