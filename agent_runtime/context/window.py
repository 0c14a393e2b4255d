"""The model's context window, and how many tokens a request takes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_WINDOW = 128_000  # tokens, where neither the operator nor the provider names a window
MAX_RESERVE = 16_384  # tokens kept free for the answer at most
RESERVED_SHARE = 0.25  # of the window
TOKENS_PER_BYTE = 1 / 3  # of a request's JSON, until the provider has told a usage
LEARNED_SHARE = 0.9  # of the size that was refused, where the refusal names no window
SMALLEST_WINDOW = 2_000  # tokens; no model has less, so that no smaller one is believed
FEWEST_TOKENS_PER_BYTE = 0.1  # an answer that tells fewer does not tell the whole request
MIN_MEASURED_BYTES = 2_000  # smaller requests are mostly the chat template's own tokens
PLATEAU_TOKENS = 0.01  # share by which `prompt_tokens` may differ where a server cuts in silence
PLATEAU_BYTES = 0.1  # share by which the request must have grown meanwhile


class WindowSource(StrEnum):
    """Who named the size of a window."""

    SETTING = "setting"  # CAYLEX_CONTEXT_TOKENS
    PROVIDER = "provider"  # the provider's list of models
    LEARNED = "learned"  # a refusal for length, or a server that cuts in silence
    DEFAULT = "default"  # nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The context window of a model in tokens; `max_output` is the model's own limit, if known."""

    tokens: int = DEFAULT_WINDOW
    source: WindowSource = WindowSource.DEFAULT
    max_output: int | None = None

    @property
    def usable(self) -> int:
        """Tokens that a request may take: the window less a reserve for the answer."""
        reserve = min(MAX_RESERVE, math.floor(self.tokens * RESERVED_SHARE))
        if self.max_output:
            reserve = min(reserve, self.max_output)
        return max(1, self.tokens - reserve)

    def share(self, fraction: float, at_most: int | None = None) -> int:
        """Return a share of the usable window in tokens; the smaller of the two limits holds."""
        part = math.floor(self.usable * fraction)
        return part if at_most is None else min(part, at_most)


def window_after_refusal(window: Window, *, told: int | None, tokens: int) -> Window:
    """Return the window after a request of about `tokens` was refused for its length.

    `told` is the window that the refusal names. Where that does not explain the refusal, the
    window becomes LEARNED_SHARE of the size that was refused. It never grows.
    """
    size = math.floor(tokens * LEARNED_SHARE)
    if told is not None and SMALLEST_WINDOW <= told < max(window.tokens, tokens + 1):
        size = told
    if not SMALLEST_WINDOW <= size < window.tokens:
        return window
    return Window(tokens=size, source=WindowSource.LEARNED, max_output=window.max_output)


@dataclass(slots=True, kw_only=True)
class TokenMeter:
    """Estimates the tokens of a request from its bytes, by what one model has reported in a run.

    The highest ratio seen is used: an estimate that is too high masks a little early, one that
    is too low is refused by the provider.
    """

    measured: float = 0.0  # tokens a byte; 0 until a usage was told
    plateau_tokens: int = 0
    plateau_bytes: int = 0

    @property
    def tokens_per_byte(self) -> float:
        """The ratio in force."""
        return self.measured or TOKENS_PER_BYTE

    def tokens(self, size: int) -> int:
        """Return the estimated tokens of `size` bytes of JSON."""
        return math.ceil(size * self.tokens_per_byte)

    def size(self, tokens: int) -> int:
        """Return how many bytes of JSON take that many tokens."""
        return math.floor(tokens / self.tokens_per_byte)

    def observe(self, *, sent: int, prompt_tokens: int) -> int | None:
        """Learn from one answer: `sent` bytes were `prompt_tokens` tokens.

        Returns the window that a server which cuts in silence has shown: its `prompt_tokens` no
        longer grow while the requests do. Else None.
        """
        if prompt_tokens <= 0 or sent < MIN_MEASURED_BYTES:
            return None
        same = abs(prompt_tokens - self.plateau_tokens) <= PLATEAU_TOKENS * self.plateau_tokens
        if not same:
            self.plateau_tokens, self.plateau_bytes = prompt_tokens, sent
        elif sent >= self.plateau_bytes * (1 + PLATEAU_BYTES):
            return prompt_tokens if prompt_tokens >= SMALLEST_WINDOW else None
        self.measured = max(self.measured, prompt_tokens / sent, FEWEST_TOKENS_PER_BYTE)
        return None
