"""Paths within a skill's folder that every usual file system can store."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from skills_app.parsing.skill_md import SkillRefused

MAX_DEPTH = 8  # folders within folders
MAX_PATH = 200  # characters

# What Windows reserves (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
_CHARACTERS = re.compile(r'[<>:"|?*\\]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?")


def check_printable(path: str) -> None:
    """Refuse a path that cannot be shown in a line, or is too long. Raises SkillRefused."""
    if len(path) > MAX_PATH or not path.isprintable():
        raise SkillRefused(f"A file's path must be printable, with at most {MAX_PATH} characters.")


def check_path(path: str) -> None:
    """Refuse a path that some disk cannot keep, or that lies too deep. Raises SkillRefused."""
    check_printable(path)
    parts = path.split("/")
    for part in parts:
        if _CHARACTERS.search(part):
            raise SkillRefused(f'{path} holds one of <>:"|?*\\, which Windows cannot keep.')
        if part != part.strip(" ") or part.endswith("."):
            raise SkillRefused(f"{path}: a name begins or ends with a space, or ends with a dot.")
        if _DEVICE.fullmatch(part.casefold()):
            raise SkillRefused(f"{path}: {part} is the name of a device on Windows.")
    check_depth("/".join(parts[:-1]), len(parts) - 1)


def check_depth(folders: str, depth: int) -> None:
    """Refuse folders too deep within folders. Raises SkillRefused."""
    if depth > MAX_DEPTH:
        raise SkillRefused(f"{folders} lies too deep: at most {MAX_DEPTH} folders.")


def check_together(paths: Iterable[str]) -> None:
    """Refuse paths that are one and the same, or a file and a folder, on some disks.

    Raises SkillRefused.
    """
    files: dict[str, str] = {}
    for path in sorted(paths):
        other = files.setdefault(_key(path), path)
        if other != path:
            raise SkillRefused(
                f"{_spelled(other)} and {_spelled(path)} are one file on some disks; rename one."
            )
    for path in files.values():
        for folder in PurePosixPath(path).parents:
            file = files.get(_key(str(folder)))
            if file is not None:
                raise SkillRefused(f"{file} is a file where {path} needs a folder; rename one.")


def normal(path: str) -> str:
    """Return the path in the one spelling that is stored and looked for (Unicode's NFC)."""
    return unicodedata.normalize("NFC", path)


def _key(path: str) -> str:
    """Return what is equal for paths that a disk without regard to case or form takes as one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _spelled(path: str) -> str:
    """Return the path so that two that look alike can be told apart."""
    return path if path.isascii() else ascii(path)
