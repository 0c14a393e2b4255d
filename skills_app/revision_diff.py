"""What tells two revisions of a skill apart, for people."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skills_app.models import SkillBlob, SkillFile, SkillRevision
from skills_app.parsing.assets import Asset
from skills_app.parsing.skill_md import ParsedSkill

MAX_SHOWN = 400  # lines of a difference
PAGE = 3_000_000  # units that the differences on one page may cost; about a second
_CONTEXT = 3
_PER_CHARACTER = 20  # characters that cost one unit


class Budget:
    """What comparing may still cost, in units of about a third of a microsecond.

    Comparing two texts takes the cube of their lines at worst, so that no cap on a text bounds
    what a page costs: the work itself is counted.
    """

    def __init__(self, units: int = PAGE) -> None:
        self.left = units

    def spend(self, units: int) -> None:
        """Take so much. Raises Spent where less is left; then nothing is."""
        self.left -= units
        if self.left < 0:
            self.left = 0
            raise Spent


class Spent(Exception):
    """The budget is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDiff:
    """A part that differs: `how` in a word, `lines` as a unified diff where there is one."""

    part: str
    how: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.part}: {self.how}"


def skill_of(revision: SkillRevision) -> ParsedSkill:
    """Return the skill that the revision keeps, without the bytes of what is kept aside."""
    rows = list(revision.files.select_related("blob").defer("blob__data").order_by("path"))
    return ParsedSkill(
        name=revision.name,
        slug=revision.skill.slug,
        description=revision.description,
        body=revision.body,
        frontmatter=revision.frontmatter,
        files={each.path: each.text for each in rows if each.blob is None},
        assets={each.path: _asset(each, each.blob) for each in rows if each.blob is not None},
    )


def _asset(row: SkillFile, blob: SkillBlob) -> Asset:
    return Asset(media_type=row.media_type, size=blob.size, sha256=blob.sha256)


def changes(*, before: ParsedSkill, after: ParsedSkill, budget: Budget) -> list[PartDiff]:
    """Return what differs: front matter, instructions, then the files by their paths.

    When the budget is used up a part that differs is named without its lines.
    """
    old, new = _parts(before), _parts(after)
    return [
        _change(part, old.get(part), new.get(part), budget)
        for part in dict.fromkeys([*_FIRST, *sorted({*old, *new})])
        if old.get(part) != new.get(part)
    ]


_FIRST = ("Front matter", "Instructions")


def _parts(skill: ParsedSkill) -> dict[str, str | Asset]:
    words = json.dumps(skill.frontmatter, ensure_ascii=False, indent=2, sort_keys=True)
    return {**skill.files, **skill.assets, **dict(zip(_FIRST, (words, skill.body), strict=True))}


def _change(
    part: str, old: str | Asset | None, new: str | Asset | None, budget: Budget
) -> PartDiff:
    if old is None or new is None:
        return PartDiff(part=part, how="added" if old is None else "removed")
    if isinstance(old, Asset) or isinstance(new, Asset):
        return PartDiff(part=part, how=f"{_said(old)} → {_said(new)}")
    try:
        lines = _diff(old, new, budget)
    except Spent:
        return PartDiff(part=part, how="changed")
    added, removed = (sum(line[0] == sign for line in lines) for sign in "+-")
    return PartDiff(part=part, how=f"+{added} −{removed}", lines=tuple(lines[:MAX_SHOWN]))


def _said(content: str | Asset) -> str:
    return content.said if isinstance(content, Asset) else f"{len(content):,} characters"


class _Matcher(difflib.SequenceMatcher[str]):
    """Counts its work before it does it. Raises Spent."""

    budget: Budget
    a: Sequence[str]  # the base class's own, not in its stubs
    b2j: Mapping[str, Sequence[int]]

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        looked_at = self.a[alo:ahi]
        self.budget.spend(len(looked_at) + sum(len(self.b2j.get(x, ())) for x in looked_at))
        return super().find_longest_match(alo, ahi, blo, bhi)


def _diff(old: str, new: str, budget: Budget) -> list[str]:
    """Return the lines of a unified diff without its two lines of names. Raises Spent."""
    budget.spend((len(old) + len(new)) // _PER_CHARACTER)
    a, b = old.splitlines(), new.splitlines()
    matcher = _Matcher(None, a, b)
    matcher.budget = budget
    found = []
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        found.append(
            f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@"
        )
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                found += [f" {line}" for line in a[i1:i2]]
                continue
            found += [f"-{line}" for line in a[i1:i2]]
            found += [f"+{line}" for line in b[j1:j2]]
    return found


def _range(start: int, stop: int) -> str:
    """Return a range of lines as unified diffs write it (POSIX, `diff -u`)."""
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
