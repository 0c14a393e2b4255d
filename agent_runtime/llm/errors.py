"""What a provider's refusal means, and the sentence for it.

Somebody has to act differently on two things only: a fault of the world (try again later) and
a refusal (a person has to change something). Never a secret in a sentence.
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Iterable
from typing import Any

from agent_runtime.errors import ContextTooLong, ModelError, ModelRefused, ModelUnavailable
from agent_runtime.llm.words import detail_of, says_too_long, window_in
from agent_runtime.net.redaction import Redactor
from agent_runtime.text import clean_text

MAX_RETRY_AFTER = 900.0
MAX_DETAIL = 300
MAX_NESTED = 3  # errors within errors
REMOVED = "[removed]"

RETRYABLE = frozenset((408, 409, 425, 429))
FIRST_SERVER_ERROR = 500

REFUSALS = {
    400: "The model provider refused the request ({code})",
    401: "The model provider refused the API key ({code}); check OPENROUTER_API_KEY",
    402: "The model provider wants to be paid ({code}); add credit, or raise the key's limit",
    403: "The model provider forbade the request ({code}); check what the API key may use",
    404: "The model provider does not know the model {model} or the address ({code}); "
    "check the model id and OPENROUTER_BASE_URL",
    413: "The request is too large for the model provider ({code})",
}
TOO_LONG = "The request does not fit the context window of the model {model} ({code})"
REDIRECTED = (
    "The model provider answered with a redirect ({code}), which is not followed; "
    "check OPENROUTER_BASE_URL"
)

# Codes in words, for errors that come with a good status. What is not here is a fault of the
# world: trying again does no harm.
CODES = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "insufficient_quota": 402,
    "billing_error": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "content_policy_violation": 400,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "BadRequestError": 400,
    "AuthenticationError": 401,
    "NotFoundError": 404,
}
CODE_KEYS = ("code", "type", "status", "status_code", "error_code", "http_code")
TOO_MANY_TOOLS = (
    "The provider does not take so many tools at once: connect fewer servers to the project, or "
    "disable some of their tools for its navigator."
)
NO_TOOLS = (
    "The model, or its server as set up, takes no tool calls: docs/models.md says what to set."
)
# What somebody has to do about refusals that are often met.
ADVICE = (
    (
        re.compile(
            r"'?tools'?[^.]{0,20}: (?:array|list) too long|too many (?:tools|functions)"
            r"|(?:maximum|max|at most|more than|limit of|exceeds?)[^.]{0,40}\b\d+[^.]{0,20}"
            r"\b(?:tools|functions)\b"
            r"|number of (?:tools|functions)[^.]{0,40}(?:exceed|maximum|limit)",
            re.IGNORECASE,
        ),
        TOO_MANY_TOOLS,
    ),
    (
        re.compile(
            r"does not support (?:tools|tool use|function calling)|support tool use"
            r"|--enable-auto-tool-choice|--jinja|tools? (?:is|are) not supported",
            re.IGNORECASE,
        ),
        NO_TOOLS,
    ),
)

_KEY_LIKE = re.compile(r"\b(?:sk|pk|ck)[-_][\w*.-]{8,}")


class ProviderTextScrubber:
    """Makes a provider's text fit to be shown: clean, short, and without the API key."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    @classmethod
    def of(cls, *, secrets: Iterable[str]) -> ProviderTextScrubber:
        """Return a scrubber of these secrets, in the encodings that `redaction` names."""
        return cls(Redactor(secrets=secrets, replacement=REMOVED))

    def __repr__(self) -> str:
        return "Scrubber()"

    def clean(self, body: Any) -> Any:
        """Return an answer's JSON without the secrets."""
        return self._redactor.redact_json(body)

    def excerpt(self, text: str) -> str:
        """Return the text on one line, scrubbed, at most MAX_DETAIL characters."""
        text = self._redactor.redact(" ".join(clean_text(text).split()))
        text = _KEY_LIKE.sub(REMOVED, text)  # providers show keys in part, too
        return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"


def classify_status(
    *,
    status: int,
    code: str,
    detail: str,
    model: str,
    retry_after: float | None,
    words: str = "",
) -> ModelError:
    """Return the fault that a status stands for.

    `code` names it for people (HTTP 429); `detail` is the provider's text, ready to be shown, and
    `words` is all that it says, to be looked at and not shown.
    """
    if (status in (400, 422) or status >= FIRST_SERVER_ERROR) and says_too_long(words):
        sentence = _sentence(TOO_LONG.format(code=code, model=model), detail)
        return ContextTooLong(sentence, window=window_in(words))
    if status in RETRYABLE or status >= FIRST_SERVER_ERROR:
        reason = "is busy" if status == 429 else "failed"
        sentence = _sentence(f"The model provider {reason} ({code})", detail)
        return ModelUnavailable(sentence, retry_after=retry_after)
    if status < 400:
        return ModelRefused(_sentence(REDIRECTED.format(code=code), ""))
    template = REFUSALS.get(status, REFUSALS[400])
    shown = "" if status == 401 else detail  # such texts repeat parts of the key
    advice = next((f" {advice}" for pattern, advice in ADVICE if pattern.search(words)), "")
    return ModelRefused(_sentence(template.format(code=code, model=model), shown) + advice)


def _sentence(text: str, detail: str) -> str:
    return f"{text}: {detail.rstrip('.')}." if detail else f"{text}."


def status_of_error(error: Any) -> int:
    """Return the status that an error object stands for; 502 where it does not say."""
    for _ in range(MAX_NESTED):
        if not isinstance(error, dict):
            break
        for key in CODE_KEYS:
            value = error.get(key)
            if isinstance(value, str):
                value = int(value) if re.fullmatch(r"[0-9]{3}", value) else CODES.get(value)
            if isinstance(value, int) and 400 <= value <= 599:
                return value
        error = error.get("error")
    return 502


def detail_of_error(error: Any) -> str:
    """Return the text of an error object, of whatever shape."""
    return detail_of(error)


def parse_retry_after(value: str | None, *, now: datetime.datetime) -> float | None:
    """Return a Retry-After header in seconds from `now`, 0 to MAX_RETRY_AFTER, or None.

    Seconds or an HTTP date (RFC 9110, 10.2.3). Anything else is None.
    """
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value):
        return min(float(value), MAX_RETRY_AFTER)
    moment = parse_date(value)
    if moment is None:
        return None
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def parse_date(value: str | None) -> datetime.datetime | None:
    """Return an HTTP date (RFC 9110, 5.6.7), or None for anything else."""
    try:
        moment = email.utils.parsedate_to_datetime(value or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
