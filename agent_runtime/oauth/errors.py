"""What can go wrong between an end user's click on *Connect* and a token."""

from __future__ import annotations

from agent_runtime.errors import AgentRuntimeError


class OAuthError(AgentRuntimeError):
    """The connection cannot be made; `str()` is one sentence that is safe to show."""


class NotDiscoverable(OAuthError):
    """The server or its authorization server does not describe itself as the standards ask."""


class ClientNeeded(OAuthError):
    """The authorization server takes no client that we could make: staff must enter one."""


class Unreachable(OAuthError):
    """The authorization server did not answer, or not as it should; trying later may help."""


class GrantRefused(OAuthError):
    """The authorization server refused a code or a refresh token.

    `code` is the error code of RFC 6749, 5.2. With `invalid_grant` only the user can help, by
    connecting again; with `invalid_client` the client has to be made or entered again.
    """

    def __init__(self, sentence: str, *, code: str) -> None:
        super().__init__(sentence)
        self.code = code
