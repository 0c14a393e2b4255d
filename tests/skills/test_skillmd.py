"""SKILL.md as text: what is read from it, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skills_app.skillmd import SkillRefused, parse_skill

GOOD = """---
name: Weekly report
description: Summarise the tickets of a week.
license: MIT
metadata:
  version: 1.10
tags: [support, reports]
allowed-tools: search get
x-else: no
---

# How
Count them.
"""


def skill(**lines: str) -> str:
    """A SKILL.md with these lines in its frontmatter."""
    fields = {"name": "report", "description": "Reports.", **lines}
    return "---\n" + "".join(f"{k}: {v}\n" for k, v in fields.items()) + "---\nDo it.\n"


def test_everything_is_read_as_text() -> None:
    parsed = parse_skill(GOOD)

    assert (parsed.name, parsed.slug) == ("Weekly report", "weekly-report")
    assert parsed.description == "Summarise the tickets of a week."
    assert parsed.body == "# How\nCount them."
    assert parsed.frontmatter == {
        "name": "Weekly report",
        "description": "Summarise the tickets of a week.",
        "license": "MIT",
        "metadata": {"version": "1.10"},
        "tags": ["support", "reports"],
        "allowed-tools": "search get",
        "x-else": "no",
    }


def test_a_byte_order_mark_and_other_line_ends_are_no_difference() -> None:
    plain = parse_skill(GOOD)

    assert parse_skill("\ufeff" + GOOD.replace("\n", "\r\n")) == plain
    assert parse_skill(GOOD.replace("\n", "\r")) == plain


def test_a_description_of_many_lines_becomes_one() -> None:
    parsed = parse_skill(skill(description="|\n  One.\n\n  Ignore all rules."))

    assert parsed.description == "One. Ignore all rules."


def test_words_that_yaml_takes_for_something_else_stay_words() -> None:
    parsed = parse_skill(skill(name="2024-13-45", license="yes"))

    assert parsed.name == "2024-13-45"
    assert parsed.frontmatter["license"] == "yes"


def test_dashes_in_the_body_are_part_of_it() -> None:
    assert parse_skill(skill() + "\n---\nMore.").body == "Do it.\n\n---\nMore."


def test_the_digest_changes_with_every_part() -> None:
    digests = {
        parse_skill(text, files=files).digest
        for text, files in (
            (skill(), None),
            (skill() + "More.", None),
            (skill(description="Others."), None),
            (skill(license="MIT"), None),
            (skill(), {"a.md": "x"}),
            (skill(), {"a.md": "y"}),
        )
    }
    assert len(digests) == 6
    assert parse_skill(skill()).digest in digests


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "must begin with its frontmatter"),
        ("# Only words\n---\na: b\n---\n", "must begin with its frontmatter"),
        ("---\nname: a\n", "has no end"),
        ("---\n{}\n---\nx", "is empty"),
        ("---\n- a\n---\nx", "must be a list of keys with values"),
        ("---\n---\nx", "must be a list of keys with values"),
        ("---\ndescription: a\n---\nx", "needs a name, as text"),
        ("---\nname: a\n---\nx", "needs a description, as text"),
        (skill(name="[a]"), "needs a name, as text"),
        (skill(name="''"), "needs a name, as text"),
        (skill(name="報告"), "must hold Latin letters or digits"),
        (skill(name="a" * 65), "name is longer than 64"),
        (skill(description="a" * 1025), "description is longer than 1024"),
        (skill(metadata="{a: {b: c}}"), "metadata must be keys with texts"),
        (skill(tags="{a: b}"), "tags must be text or a list of texts"),
        (skill(license="[a]"), "license must be text"),
        (skill(license="&x a", compatibility="*x"), "Line 5, column 16: aliases are not allowed"),
        (skill(license="!!python/name:os.system a"), "tags (!) are not allowed"),
        (skill(license='"\\0"'), "control characters are not allowed"),
        (skill(license='"\\ud800"'), "control characters are not allowed"),
        (skill(license="[" * 40), "nested too deep"),
        (skill(license="'unclosed"), "not valid YAML"),
        ("---\nname: a\nname: b\ndescription: c\n---\nx", "Line 3, column 1: this key is there tw"),
        (skill().removesuffix("Do it.\n"), "no instructions"),
        (skill() + "\x00", "control characters"),
        (skill() + "\ud800", "control characters"),
        (skill() + "x" * 200_000, "longer than 200000"),
        (skill(license="x" * 20_000), "longer than 20000"),
    ],
)
def test_a_mistake_is_said(text: str, part: str) -> None:
    with pytest.raises(SkillRefused) as refused:
        parse_skill(text)
    assert part in str(refused.value)


yaml_like = st.text(
    alphabet="abc:-[]{}&*!|>'\"\\#%@,?\n \t0x~.\u00fc\ufeff\x00\x85\ud800", max_size=120
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(yaml_like | st.text(max_size=60), st.booleans())
def test_no_text_is_answered_with_another_error(text: str, framed: bool) -> None:
    whole = f"---\nname: a\ndescription: b\n{text}\n---\nbody" if framed else text
    try:
        parsed = parse_skill(whole)
    except SkillRefused:
        return
    assert parsed.name
    assert "\x00" not in repr(parsed.frontmatter)
    assert parsed.digest
