"""What a skill's folder may hold, and the skill that its files make: from a disk or an upload."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skills_app.skillmd import MAX_SKILL_MD, ParsedSkill, SkillRefused, fit_text, parse_skill

SKILL_MD = "SKILL.md"
MAX_FILES = 200
MAX_FILE = 200_000  # bytes
MAX_TOTAL = 2_000_000  # bytes of all files together
MAX_DEPTH = 8  # folders within folders
MAX_PATH = 200  # characters

Read = Callable[[str, int], bytes]  # a file's first bytes: of its name, one more than so many


def assemble(names: Iterable[str], *, read: Read) -> ParsedSkill:
    """Return the skill that the files make, each read once, in the order of their names.

    Raises SkillRefused.
    """
    files: dict[str, str] = {}
    total = 0
    text: str | None = None
    for name in sorted(names):
        if name == SKILL_MD:
            text = skill_md(read)
            continue
        if len(files) == MAX_FILES:
            raise SkillRefused(f"The folder holds more than {MAX_FILES} files.")
        files[name] = _text(read(name, MAX_FILE), name, MAX_FILE)
        total += len(files[name].encode())
        if total > MAX_TOTAL:
            raise SkillRefused(f"The files are larger than {MAX_TOTAL:,} bytes together.")
    if text is None:
        raise SkillRefused(f"The folder holds no {SKILL_MD}.")
    return parse_skill(text, files=files)


def skill_md(read: Read) -> str:
    """Return the text of the SKILL.md. Raises SkillRefused."""
    most = 4 * MAX_SKILL_MD
    return _text(read(SKILL_MD, most), SKILL_MD, most)


def check_path(name: str) -> None:
    """Refuse a path within the folder that is odd or too long. Raises SkillRefused."""
    if len(name) > MAX_PATH or not name.isprintable():
        raise SkillRefused(f"A file's path must be printable, with at most {MAX_PATH} characters.")


def check_depth(folders: str, depth: int) -> None:
    """Refuse folders too deep within folders. Raises SkillRefused."""
    if depth > MAX_DEPTH:
        raise SkillRefused(f"{folders} lies too deep: at most {MAX_DEPTH} folders.")


def _text(data: bytes, name: str, most: int) -> str:
    if len(data) > most:
        raise SkillRefused(f"{name} is larger than {most:,} bytes.")
    try:
        return fit_text(data.decode(), what=name)
    except UnicodeDecodeError:
        raise SkillRefused(f"{name} is not a text in UTF-8; a skill holds text alone.") from None
