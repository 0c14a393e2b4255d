"""What tells two revisions of a skill apart, for people."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from skills_app.models import SkillRevision
from skills_app.skillmd import ParsedSkill

MOST_COMPARED = 2_000  # lines of a text; comparing takes their square
MOST_SHOWN = 400  # lines of a difference
_CONTEXT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A part that differs: `how` in a word, `lines` as a unified diff where there is one."""

    part: str
    how: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.part}: {self.how}"


def skill_of(revision: SkillRevision) -> ParsedSkill:
    """Return the skill that the revision keeps."""
    return ParsedSkill(
        name=revision.name,
        slug=revision.skill.slug,
        description=revision.description,
        body=revision.body,
        frontmatter=revision.frontmatter,
        files={each.path: each.text for each in revision.files.all()},
    )


def changes(*, before: ParsedSkill, after: ParsedSkill) -> list[Change]:
    """Return what differs: front matter, instructions, then the files by their paths."""
    parts = [
        ("Front matter", _pretty(before), _pretty(after)),
        ("Instructions", before.body, after.body),
        *(
            (path, before.files.get(path), after.files.get(path))
            for path in sorted({*before.files, *after.files})
        ),
    ]
    return [_change(part, old, new) for part, old, new in parts if old != new]


def _pretty(skill: ParsedSkill) -> str:
    return json.dumps(skill.frontmatter, ensure_ascii=False, indent=2, sort_keys=True)


def _change(part: str, old: str | None, new: str | None) -> Change:
    if old is None or new is None:
        return Change(part=part, how="added" if old is None else "removed")
    lines = (old.splitlines(), new.splitlines())
    if max(len(each) for each in lines) > MOST_COMPARED:
        return Change(part=part, how="changed")
    found = list(_diff(*lines))
    added, removed = (sum(line[0] == sign for line in found) for sign in "+-")
    return Change(part=part, how=f"+{added} −{removed}", lines=tuple(found[:MOST_SHOWN]))


def _diff(old: list[str], new: list[str]) -> Iterator[str]:
    """Yield the lines of a unified diff without its two lines of names."""
    found = difflib.unified_diff(old, new, lineterm="", n=_CONTEXT)
    return (line for number, line in enumerate(found) if number > 1)
