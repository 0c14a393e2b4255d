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

from agent_runtime.errors import ModelFault, ModelRefused, ModelUnavailable
from agent_runtime.redaction import Redactor
from agent_runtime.text import clean_text

MAX_RETRY_AFTER = 900.0
LONGEST_DETAIL = 300
REMOVED = "[removed]"

PASSING = frozenset((408, 409, 425, 429))
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
}
# A provider's own gateway says this when the model's maker failed; the cause is in `raw`.
GENERIC = "provider returned error"

_KEY_LIKE = re.compile(r"\b(?:sk|pk|ck)[-_][\w*.-]{8,}")


class Scrubber:
    """Makes a provider's text fit to be shown: clean, short, and without the API key."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    @classmethod
    def of(cls, *, secrets: Iterable[str]) -> Scrubber:
        """Return a scrubber of these secrets, in the encodings that `redaction` names."""
        return cls(Redactor(secrets=secrets, replacement=REMOVED))

    def __repr__(self) -> str:
        return "Scrubber()"

    def clean(self, body: Any) -> Any:
        """Return an answer's JSON without the secrets."""
        return self._redactor.redact_json(body)

    def excerpt(self, text: str) -> str:
        """Return the text on one line, scrubbed, at most LONGEST_DETAIL characters."""
        text = self._redactor.redact(" ".join(clean_text(text).split()))
        text = _KEY_LIKE.sub(REMOVED, text)  # providers show keys in part, too
        return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"


def fault(
    *, status: int, code: str, detail: str, model: str, retry_after: float | None
) -> ModelFault:
    """Return the fault that a status stands for.

    `code` names it for people (HTTP 429); `detail` is the provider's text, ready to be shown.
    """
    if status in PASSING or status >= FIRST_SERVER_ERROR:
        reason = "is busy" if status == 429 else "failed"
        sentence = _sentence(f"The model provider {reason} ({code})", detail)
        return ModelUnavailable(sentence, retry_after=retry_after)
    if status < 400:
        return ModelRefused(_sentence(REDIRECTED.format(code=code), ""))
    template = REFUSALS.get(status, REFUSALS[400])
    shown = "" if status == 401 else detail  # such texts repeat parts of the key
    return ModelRefused(_sentence(template.format(code=code, model=model), shown))


def _sentence(text: str, detail: str) -> str:
    return f"{text}: {detail.rstrip('.')}." if detail else f"{text}."


def status_of_error(error: Any) -> int:
    """Return the status that an error object stands for; 502 where it does not say."""
    if not isinstance(error, dict):
        return 502
    for key in ("code", "type", "status"):
        value = error.get(key)
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"[0-9]{3}", value) else CODES.get(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return 502


def detail_of_error(error: Any) -> str:
    """Return the text of an error object, of whatever shape."""
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    message = error.get("message") or error.get("detail") or ""
    if isinstance(message, str) and message.strip().rstrip(".").lower() in ("", GENERIC):
        metadata = error.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, dict) else None
        message = f"{message}: {raw}" if message and raw else raw or message
    return str(message)


def parse_retry_after(value: str | None, *, now: datetime.datetime) -> float | None:
    """Return a Retry-After header in seconds from `now`, 0 to MAX_RETRY_AFTER, or None.

    Seconds or an HTTP date (RFC 9110, 10.2.3). Anything else is None.
    """
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER)
