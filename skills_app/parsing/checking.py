"""Which skills there are below a path, and whether they load."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skills_app.parsing.files import SKILL_MDS
from skills_app.parsing.folder import load_skill
from skills_app.parsing.skill_md import ParsedSkill, SkillRefused
from skills_app.parsing.upload import MAX_UPLOAD, load_upload

_PASSED_OVER = (".git", "node_modules")  # as the standard's guide for clients says


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedSkill:
    """A skill where it was found; `refused` is the sentence with which it is, or None."""

    path: Path
    slug: str | None = None
    refused: str | None = None
    notes: tuple[str, ...] = ()


def check_skills(path: Path) -> Iterator[CheckedSkill]:
    """Yield the skills at or below a path, by their paths, each read and none stored.

    Links are not followed. A path with nothing that looks like a skill yields nothing; one that
    is no folder, and neither a SKILL.md nor a ZIP, a refusal.
    """
    if not path.is_dir():
        yield _checked(path)
        return
    for place, folders, files in os.walk(path):
        folders[:] = sorted(each for each in folders if each not in _PASSED_OVER)
        if any(each in files for each in SKILL_MDS):
            yield _checked(Path(place))


def _checked(path: Path) -> CheckedSkill:
    try:
        skill = _load(path)
    except SkillRefused as refused:
        return CheckedSkill(path=path, refused=str(refused))
    return CheckedSkill(path=path, slug=skill.slug, notes=skill.notes)


def _load(path: Path) -> ParsedSkill:
    if path.suffix.lower() not in (".zip", ".skill"):
        return load_skill(path)
    try:
        with path.open("rb") as file:
            return load_upload(file.read(MAX_UPLOAD + 1))
    except OSError as error:
        raise SkillRefused(f"The file cannot be read: {error.strerror}.") from None
