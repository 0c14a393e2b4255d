"""What can go wrong outside the agent, and who acts on it how.

AgentRuntimeError
├── ModelError              the model did not answer
│   ├── ModelUnavailable    a fault of the world: try again later
│   └── ModelRefused        final at once: a person has to change something
│       └── ContextTooLong  the request does not fit the model's context window
├── CredentialNeeded        a tool server wants one that we do not have, or refused ours
├── RenewalFailed           an access token has ended and could not be renewed just now
└── AddressRefused          an address that we may not connect to (see `net`)

A tool server that is away or broken is no fault: the agent goes on without it. A tool that answers
with an error is none either: it is a result, and the agent reads it. Mistakes of the model (unknown
tool, broken arguments) are results too.
Every message is one safe sentence: it may be shown to the caller and never holds a secret.
"""


class AgentRuntimeError(Exception):
    """Something outside the agent failed; `str()` is one sentence that is safe to show."""


class ModelError(AgentRuntimeError):
    """The model did not answer."""


class ModelUnavailable(ModelError):
    """A fault of the world: 408, 409, 425, 429, 5xx, a cut or garbled answer, a stall.

    `retry_after` is what the provider asked for, in seconds, or None.
    """

    def __init__(self, sentence: str, *, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class ModelRefused(ModelError):
    """Final at once: 400, 401, 402, 403, an unknown model. Trying again cannot help."""


class ContextTooLong(ModelRefused):
    """The request is longer than the model's context window; a shorter one may be taken.

    `window` is the window in tokens where the provider named it, or None. A request that has too
    many bytes (413) is none: it says nothing of the window.
    """

    def __init__(self, sentence: str, *, window: int | None = None) -> None:
        super().__init__(sentence)
        self.window = window


class CredentialNeeded(AgentRuntimeError):
    """The server wants a credential that is absent, does not open, or was refused."""


class RenewalFailed(AgentRuntimeError):
    """An access token has ended and its authorization server did not renew it; it may later."""


class AddressRefused(AgentRuntimeError):
    """The address is private, malformed or otherwise not one that we connect to."""
