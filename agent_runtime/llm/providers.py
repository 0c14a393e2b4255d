"""What is known of providers before the first request, so that it is right and not the second.

Facts that public documents tell for sure, by the host of the base URL or the beginning of the
model's name. Whatever is not here is learned from a refusal: see `lessons`. docs/models.md shows
this table to people.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_runtime.adaptation import NOTHING, Adaptation, Shape

DESCRIPTION_OF_OPENAI = 1_024  # characters of a tool's description


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """One fact: where it holds, what to adapt, and who says so.

    `host` is the end of a host's name, `model` the beginning of a model's; an empty one holds
    anywhere.
    """

    host: str = ""
    model: str = ""
    adaptation: Adaptation
    source: str

    def holds(self, *, host: str, model: str) -> bool:
        """Say whether the fact is about this model at this host."""
        named = host == self.host or host.endswith(f".{self.host}")
        return (not self.host or named) and model.lower().startswith(self.model)


_MISTRAL = Adaptation(
    parameters=frozenset(("stream_options",)),
    shapes=frozenset((Shape.SHORT_IDS, Shape.ALTERNATE)),
)
_OPENAI = Adaptation(longest_description=DESCRIPTION_OF_OPENAI)

QUIRKS = (
    Quirk(
        host="api.mistral.ai",
        adaptation=_MISTRAL,
        source="github.com/avante-corp/avante.nvim/issues/2347 (422 for stream_options), "
        "/2562 (user after tool); github.com/karthink/gptel/issues/1203 (ids of nine)",
    ),
    Quirk(
        host="openrouter.ai",
        model="mistralai/",
        adaptation=Adaptation(shapes=_MISTRAL.shapes),
        source="github.com/charmbracelet/crush/issues/279",
    ),
    Quirk(
        host="api.groq.com",
        adaptation=Adaptation(fields=frozenset(("reasoning_content", "reasoning_details"))),
        source="github.com/janhq/jan/issues/8136; github.com/agentjido/req_llm/issues/772",
    ),
    Quirk(
        host="api.cerebras.ai",
        adaptation=Adaptation(fields=frozenset(("reasoning_content",))),
        source="github.com/QwenLM/qwen-code/issues/11045 (`reasoning` itself is taken back)",
    ),
    Quirk(
        host="api.openai.com",
        adaptation=_OPENAI,
        source="github.com/modelcontextprotocol/servers/issues/799",
    ),
    Quirk(
        host="openai.azure.com",
        adaptation=_OPENAI,
        source="github.com/OpenHands/OpenHands/issues/4838",
    ),
    Quirk(
        host="openrouter.ai",
        model="openai/",
        adaptation=_OPENAI,
        source="github.com/modelcontextprotocol/servers/issues/799",
    ),
    Quirk(
        host="generativelanguage.googleapis.com",
        adaptation=Adaptation(
            keywords=frozenset(("patternProperties", "propertyNames")),
            shapes=frozenset((Shape.TOOL_NAMES,)),
        ),
        source="github.com/openclaw/openclaw/issues/19951; "
        "github.com/tailcallhq/forgecode/pull/3426; "
        "github.com/NousResearch/hermes-agent/pull/19728",
    ),
)


def known(*, host: str, model: str) -> Adaptation:
    """Return what is known of this model at this host."""
    found = NOTHING
    for quirk in QUIRKS:
        if quirk.holds(host=host, model=model):
            found |= quirk.adaptation
    return found


def marks_cache(*, host: str) -> bool:
    """Say whether Anthropic's models are asked at this host to cache the prompt.

    OpenRouter moves the mark to the end of the transcript by itself; other makers cache unasked.
    Source: openrouter.ai/docs/guides/best-practices/prompt-caching.
    """
    return host == "openrouter.ai" or host.endswith(".openrouter.ai")
