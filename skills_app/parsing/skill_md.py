"""The SKILL.md standard (agentskills.io): a folder's `SKILL.md` and its files, as values."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import frontmatter
from django.utils.text import slugify
from frontmatter.default_handlers import YAMLHandler

from skills_app.parsing.assets import Asset
from skills_app.parsing.strict_yaml import YamlRefused
from skills_app.parsing.unquoted import load_frontmatter

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
    """A skill as its author wrote it.

    `files` are texts and `assets` what is kept aside, by their path inside the folder.
    `frontmatter` holds everything between the dashes, text alone, unknown keys included.
    `notes` are sentences for the author: what was read leniently, and what the agent cannot read.
    """

    name: str
    slug: str
    description: str
    body: str
    frontmatter: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, Asset] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over everything that the skill says: equal when nothing changed."""
        whole: list[Any] = [self.name, self.description, self.body, self.frontmatter, self.files]
        if self.assets:
            whole.append({path: each.sha256 for path, each in self.assets.items()})
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


class _Lenient(YAMLHandler):  # type: ignore[misc]
    """Loads the frontmatter; `unquoted` are the keys whose text lacked its quotes."""

    unquoted: tuple[str, ...] = ()

    def load(self, fm: str, **kwargs: object) -> Any:
        if len(fm) > MAX_FRONTMATTER:
            raise SkillRefused(f"The frontmatter is longer than {MAX_FRONTMATTER} characters.")
        loaded, self.unquoted = load_frontmatter(fm)
        if not isinstance(loaded, dict):
            raise SkillRefused("The frontmatter must be a list of keys with values.")
        return loaded


def parse_skill(
    text: str,
    *,
    files: Mapping[str, str] | None = None,
    assets: Mapping[str, Asset] | None = None,
    notes: Iterable[str] = (),
) -> ParsedSkill:
    """Return the skill that the text of a SKILL.md describes; `notes` go before its own.

    Raises SkillRefused.
    """
    if len(text) > MAX_SKILL_MD:
        raise SkillRefused(f"SKILL.md is longer than {MAX_SKILL_MD} characters.")
    text = fit_text(text, what="SKILL.md")
    if not _OPENING.match(text):
        raise SkillRefused("SKILL.md must begin with its frontmatter, after a line of '---'.")
    handler = _Lenient()
    try:
        found, body = frontmatter.parse(text, handler=handler)
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
        assets=assets or {},
        notes=(*notes, *_quote(handler.unquoted)),
    )


def _quote(keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        yield f"The frontmatter's {key} is not valid YAML as written; it was read as text."


def fit_text(text: str, *, what: str) -> str:
    """Return the text without a byte order mark and with plain line ends.

    Raises SkillRefused where it holds control characters or broken ones.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if _UNFIT.search(text.replace("\r", "\n")):
        raise SkillRefused(f"{what} holds control characters; it must be plain text.")
    return text.replace("\r", "\n")


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the frontmatter with what the standard asks for checked, the rest as it is read.

    What is optional and of another kind than the standard says is kept as JSON text.
    """
    known = dict(found)
    known["name"] = _line(found, "name", MAX_NAME)
    known["description"] = _line(found, "description", MAX_DESCRIPTION)
    for key in ("license", "compatibility"):
        if key in found:
            known[key] = _as_text(found[key])
    for key in ("allowed-tools", "tags"):
        if key in found and not _is_texts(found[key]):
            known[key] = _as_text(found[key])
    metadata = known.pop("metadata", "")
    if metadata and not isinstance(metadata, dict):
        raise SkillRefused("The frontmatter's metadata must be keys with values.")
    if metadata:
        known["metadata"] = {key: _as_text(value) for key, value in metadata.items()}
    return known


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(found: Mapping[str, Any], key: str, most: int) -> str:
    """Return the text of a required key on one line: it stands in a list in the prompt."""
    value = found.get(key)
    if not isinstance(value, str) or not value.strip():
        raise SkillRefused(f"The frontmatter needs a {key}, as text.")
    line = " ".join(value.split())
    if len(line) > most:
        raise SkillRefused(
            f"The frontmatter's {key} is longer than {most:,} characters: it has {len(line):,}."
        )
    return line


def _slug(name: str) -> str:
    slug = slugify(name)
    if not slug or len(slug) > MAX_SLUG:
        raise SkillRefused(
            "The frontmatter's name must hold Latin letters or digits, and at most "
            f"{MAX_SLUG} of them."
        )
    return slug
