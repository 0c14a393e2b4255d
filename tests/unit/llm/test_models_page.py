"""docs/models.md says what the code does: the table of providers, the lessons, the settings."""

from __future__ import annotations

import re
from pathlib import Path

from agent_runtime.adaptation import Shape
from agent_runtime.llm.chat_completions import MAX_LESSONS
from agent_runtime.llm.lessons import PARAMETERS
from agent_runtime.llm.providers import QUIRKS, Quirk
from tests.real_models import answers, requests

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "models.md").read_text()
KINDS = {
    "parameters": "without the parameter",
    "fields": "without the message field",
    "keywords": "without the schema keyword",
    "tools": "without the tool",
}


def section(heading: str) -> str:
    """Return what the page has under a heading of the second level."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table(heading: str) -> list[str]:
    """Return the rows of the first table under a heading, without its head."""
    found = re.search(r"^\|(?:-+\|)+\n((?:\|.*\n?)+)", section(heading), re.MULTILINE)
    assert found is not None
    return found[1].splitlines()


def words_of(quirk: Quirk) -> str:
    """Return in words what a fact adapts."""
    adapted = quirk.adaptation
    words = [
        f"{kind} `{each}`"
        for name, kind in KINDS.items()
        for each in sorted(getattr(adapted, name))
    ]
    words += [f"`{shape}`" for shape in sorted(adapted.shapes)]
    if adapted.longest_description is not None:
        words.append(f"descriptions of tools end at {adapted.longest_description:,} characters")
    return ", ".join(words)


def row(quirk: Quirk) -> str:
    """Return a fact's row in the page."""
    host, model = (f"`{each}`" if each else "any" for each in (quirk.host, quirk.model))
    return f"| {host} | {model} | {words_of(quirk)} | {quirk.source} |"


def test_the_page_has_a_row_for_each_known_fact_and_no_other() -> None:
    assert table("What is known of providers") == [row(each) for each in QUIRKS]


def test_the_page_explains_each_way_of_writing_messages() -> None:
    found = re.findall(r"^- `(\w+)`: ", section("What is known of providers"), re.MULTILINE)
    assert sorted(found) == sorted(Shape)


def test_the_page_names_what_a_refusal_teaches() -> None:
    lessons = section("What a refusal teaches")
    assert [name for name in PARAMETERS if f"`{name}`" not in lessons] == []
    assert f"up to {MAX_LESSONS} times" in lessons


def test_each_server_of_the_page_has_a_base_url_and_a_public_source() -> None:
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", each)[1:-1]]
        for each in table("Settings for some servers")
    ]
    names = [re.fullmatch(r"\[(.+)\]\(https://\S+\)", cells[0]) for cells in rows]
    assert [name and name[1] for name in names] == [
        "OpenRouter",
        "vLLM",
        "llama.cpp",
        "Ollama",
        "LM Studio",
        "LiteLLM",
        "Azure OpenAI",
    ]
    assert [cells[0] for cells in rows if not re.match(r"`https?://\S+/v1`", cells[1])] == []
    assert all(len(cells) == 4 for cells in rows)


def test_the_makers_that_the_page_says_were_tried_have_a_case() -> None:
    claim = re.search(r"answers and refusals of (.+?) and others", section("What was tried"))
    assert claim is not None
    makers = re.split(r", | and ", claim[1])
    cases = " ".join([*answers.CASES, *requests.CASES])
    assert [each for each in makers if each not in cases] == []
    assert len(makers) >= 10
