"""The SKILL.md standard (agentskills.io): a folder's `SKILL.md` and its files, as values."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import frontmatter
from django.utils.text import slugify
from frontmatter.default_handlers import YAMLHandler

from skills_app.strict_yaml import YamlRefused, load_text

MAX_SKILL_MD = 200_000  # characters of SKILL.md
MAX_FRONTMATTER = 20_000
MAX_NAME = 64
MAX_SLUG = 64
MAX_DESCRIPTION = 1024

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_OPENING = re.compile(r"---[ \t]*\n")


class SkillRefused(ValueError):
    """The text or folder is no skill that we take; `str()` is a sentence for its author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedSkill:
    """A skill as its author wrote it. `files` are texts by their path inside the folder.

    `frontmatter` holds everything between the dashes, text alone, unknown keys included.
    """

    name: str
    slug: str
    description: str
    body: str
    frontmatter: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that the skill says: equal when nothing changed."""
        whole = [self.name, self.description, self.body, self.frontmatter, self.files]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


class _Strict(YAMLHandler):  # type: ignore[misc]
    def load(self, fm: str, **kwargs: object) -> Any:
        if len(fm) > MAX_FRONTMATTER:
            raise SkillRefused(f"The frontmatter is longer than {MAX_FRONTMATTER} characters.")
        loaded = load_text(fm)
        if not isinstance(loaded, dict):
            raise SkillRefused("The frontmatter must be a list of keys with values.")
        return loaded


def parse_skill(text: str, *, files: Mapping[str, str] | None = None) -> ParsedSkill:
    """Return the skill that the text of a SKILL.md describes.

    Raises SkillRefused.
    """
    if len(text) > MAX_SKILL_MD:
        raise SkillRefused(f"SKILL.md is longer than {MAX_SKILL_MD} characters.")
    text = fit_text(text, what="SKILL.md")
    if not _OPENING.match(text):
        raise SkillRefused("SKILL.md must begin with its frontmatter, after a line of '---'.")
    try:
        found, body = frontmatter.parse(text, handler=_Strict())
    except YamlRefused as error:
        raise SkillRefused(f"The frontmatter of SKILL.md: {error}") from None
    if not found:
        raise SkillRefused("The frontmatter of SKILL.md is empty, or has no end: a line of '---'.")
    if not body:
        raise SkillRefused("SKILL.md has no instructions below its frontmatter.")
    known = _checked(found)
    return ParsedSkill(
        name=known["name"],
        slug=_slug(known["name"]),
        description=known["description"],
        body=body,
        frontmatter=known,
        files=files or {},
    )


def fit_text(text: str, *, what: str) -> str:
    """Return the text without a byte order mark and with plain line ends.

    Raises SkillRefused where it holds control characters or broken ones.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if _UNFIT.search(text.replace("\r", "\n")):
        raise SkillRefused(f"{what} holds control characters; it must be plain text.")
    return text.replace("\r", "\n")


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(found)
    known["name"] = _line(found, "name", MAX_NAME)
    known["description"] = _line(found, "description", MAX_DESCRIPTION)
    for key in ("license", "compatibility"):
        if key in found and not isinstance(found[key], str):
            raise SkillRefused(f"The frontmatter's {key} must be text.")
    metadata = found.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(e, str) for e in metadata.values()):
        raise SkillRefused("The frontmatter's metadata must be keys with texts.")
    for key in ("allowed-tools", "tags"):
        value = found.get(key, "")
        listed = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if not listed and not isinstance(value, str):
            raise SkillRefused(f"The frontmatter's {key} must be text or a list of texts.")
    return known


def _line(found: Mapping[str, Any], key: str, most: int) -> str:
    """Return the text of a required key on one line: it stands in a list in the prompt."""
    value = found.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SkillRefused(f"The frontmatter needs a {key}, as text.")
    line = " ".join(value.split())
    if len(line) > most:
        raise SkillRefused(f"The frontmatter's {key} is longer than {most} characters.")
    return line


def _slug(name: str) -> str:
    slug = slugify(name)
    if not slug or len(slug) > MAX_SLUG:
        raise SkillRefused(
            "The frontmatter's name must hold Latin letters or digits, and at most "
            f"{MAX_SLUG} of them."
        )
    return slug
