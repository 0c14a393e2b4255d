"""What a provider's word for the end of an answer means.

The chat-completions API knows five words; servers behind it pass on their own. Sources: the API
references of OpenAI, Anthropic, Gemini and Vertex AI, Bedrock, Cohere, Mistral, DeepSeek, Z.ai,
Together, watsonx, OpenRouter, and the code of vLLM, SGLang, TGI, llama.cpp, Ollama and LM Studio.
"""

from __future__ import annotations

import functools
import re
from enum import StrEnum


class Finish(StrEnum):
    """How an answer ended."""

    ENDED = "ended"  # in good order
    CUT = "cut"  # by a limit; what is there is the beginning of an answer
    FILTERED = "filtered"  # by a filter or the provider's policy; asking again does not help
    BROKEN = "broken"  # by a fault; the same request may succeed
    UNKNOWN = "unknown"  # by a word that is not listed here


# Compared in lower case, without anything but letters and digits: `MAX_TOKENS`, `max-tokens` and
# `maxTokens` are one word.
_WORDS = {
    Finish.ENDED: (
        "stop tool_calls tool_call tool_use function_call function_calls end_turn end eos "
        "eos_token eos_found stop_sequence stop_string_found stop_token complete completed "
        "finish finished done success normal null none unspecified"
    ),
    Finish.CUT: (
        "length max_tokens max_token model_length max_length max_len max_context max_output_tokens "
        "max_new_tokens max_completion_tokens max_tokens_reached max_predicted_tokens_reached "
        "token_limit output_limit context_length context_length_reached context_length_exceeded "
        "context_window model_context_window_exceeded error_limit limit length_limit "
        "repetition repetition_truncation time_limit incomplete not_finished truncated pause_turn"
    ),
    Finish.FILTERED: (
        "content_filter content_filtered content_filtering filter filtered safety refusal "
        "recitation blocklist prohibited_content spii language image_safety image_recitation "
        "image_prohibited_content guardrail guardrails guardrail_intervened sensitive moderation "
        "moderated blocked content_blocked policy policy_violation content_policy_violation "
        "error_toxic model_armor censored"
    ),
    Finish.BROKEN: (
        "error abort aborted cancelled canceled user_cancel user_cancelled user_stopped timeout "
        "failed failure insufficient_system_resource network_error server_error internal_error "
        "engine_error overloaded malformed_function_call malformed_tool_use malformed_response "
        "malformed_model_output unexpected_tool_call too_many_tool_calls "
        "missing_thought_signature model_unloaded load unload"
    ),
}
_PREFIX = re.compile(r"^(finish|stop)?reason")
_NOT_IN_WORDS = re.compile(r"[^a-z0-9]")
_MEANINGS = {
    word.replace("_", ""): finish for finish, words in _WORDS.items() for word in words.split()
}


@functools.lru_cache(maxsize=256)
def finish_of(word: str) -> Finish:
    """Return what a finish reason means, in any case of letters; an empty one is a good end."""
    plain = _NOT_IN_WORDS.sub("", word.lower())
    found = _MEANINGS.get(plain) or _MEANINGS.get(_PREFIX.sub("", plain))
    if found is None:
        return Finish.UNKNOWN if word.strip() else Finish.ENDED
    return found
