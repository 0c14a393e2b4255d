"""What a skill's folder may hold, and the skill that its files make: from a disk or an upload.

The limits are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from skills_app.parsing.assets import Asset, asset_of
from skills_app.parsing.names import check_together, normal
from skills_app.parsing.skill_md import (
    MAX_SKILL_MD,
    ParsedSkill,
    SkillRefused,
    fit_text,
    parse_skill,
)

SKILL_MD = "SKILL.md"
SKILL_MDS = (SKILL_MD, "skill.md")  # the standard's reader takes either; the first goes first
MAX_FILES = 200
MAX_FILE = 5_000_000  # bytes
MAX_TOTAL = 20_000_000  # bytes of all files together
MAX_TEXT = 200_000  # bytes of a text that an agent can read; a larger one is kept aside
MAX_TEXTS = 2_000_000  # bytes of all of these; beyond that the largest are kept aside
MAX_NAMED = 5  # files in one note

Read = Callable[[str, int], bytes]  # a file's first bytes: of its name, one more than so many


def assemble(names: Collection[str], *, read: Read) -> ParsedSkill:
    """Return the skill that the files make, each read once, in the order of their names.

    Raises SkillRefused.
    """
    check_together(names)
    main = next((each for each in SKILL_MDS if each in names), None)
    if main is None:
        raise SkillRefused(f"The folder holds no {SKILL_MD}.")
    if len(names) - 1 > MAX_FILES:
        raise SkillRefused(f"The folder holds more than {MAX_FILES} files.")
    text = skill_md(lambda most: read(main, most))
    contents = dict(_contents(sorted(set(names) - {main}), read))
    files = _texts(contents)
    assets = {path: asset_of(path, data) for path, data in contents.items() if path not in files}
    return parse_skill(text, files=files, assets=assets, notes=_notes(assets))


def skill_md(read: Callable[[int], bytes]) -> str:
    """Return the text of the SKILL.md, whose first bytes `read` gives. Raises SkillRefused."""
    most = 4 * MAX_SKILL_MD
    data = read(most)
    if len(data) > most:
        raise SkillRefused(f"{SKILL_MD} is larger than {most:,} bytes.")
    try:
        return fit_text(data.decode(), what=SKILL_MD)
    except UnicodeDecodeError:
        raise SkillRefused(f"{SKILL_MD} is not a text in UTF-8.") from None


def _contents(names: list[str], read: Read) -> Iterator[tuple[str, bytes]]:
    """Yield the files by the paths that are stored."""
    total = 0
    for name in names:
        data = read(name, MAX_FILE)
        if len(data) > MAX_FILE:
            raise SkillRefused(f"{name} is larger than {MAX_FILE:,} bytes.")
        total += len(data)
        if total > MAX_TOTAL:
            raise SkillRefused(f"The files are larger than {MAX_TOTAL:,} bytes together.")
        yield normal(name), data


def _texts(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Return what an agent can read, and can have in its context at a reasonable price."""
    texts = {path: text for path, data in contents.items() if (text := _text(data)) is not None}
    total = sum(len(contents[path]) for path in texts)
    for path in sorted(texts, key=lambda path: (-len(contents[path]), path)):
        if total <= MAX_TEXTS:
            break
        total -= len(contents[path])
        del texts[path]
    return texts


def _text(data: bytes) -> str | None:
    if len(data) > MAX_TEXT:
        return None
    try:
        return fit_text(data.decode(), what="")
    except (UnicodeDecodeError, SkillRefused):
        return None


def _notes(assets: Mapping[str, Asset]) -> Iterator[str]:
    if not assets:
        return
    named = [f"{path} ({each.said})" for path, each in list(assets.items())[:MAX_NAMED]]
    more = [f"and {len(assets) - MAX_NAMED} more"] if len(assets) > MAX_NAMED else []
    yield (
        "Kept aside because an agent cannot read them (not text, or too large): "
        f"{', '.join([*named, *more])}."
    )
