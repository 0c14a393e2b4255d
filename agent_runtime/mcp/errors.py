"""What can go wrong on the way to a tool server and back, and what that means for a call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ToolServerFailure(StrEnum):
    """Why a request to a server has no usable answer."""

    ADDRESS = "address"  # not one that we connect to; nothing was sent
    UNREACHABLE = "unreachable"  # no connection; nothing was sent
    DEADLINE = "deadline"  # no whole answer in time
    DISCONNECTED = "cut"  # the connection broke while we sent or waited
    TOO_LARGE = "too large"  # more bytes, events or values than we take
    ENCODED = "encoded"  # compressed, although we ask for plain bytes
    MALFORMED = "garbled"  # not the protocol
    REDIRECT = "redirect"  # to another address
    CREDENTIAL = "credential"  # 401
    ENDED = "ended"  # the access token has ended for good; the user has to connect again
    RENEWAL = "renewal"  # the access token has ended and could not be renewed just now
    FORBIDDEN = "forbidden"  # 403
    BUSY = "busy"  # 408, 425, 429, 503: not carried out
    SERVER_ERROR = "server error"  # another 5xx
    REJECTED = "rejected"  # another 4xx, or an error in place of a list of tools
    VERSION = "version"  # no version of the protocol that both sides speak
    OLD_TRANSPORT = "old transport"  # HTTP+SSE of 2024-11-05
    SESSION_GONE = "session gone"  # not carried out, a new session is needed
    SESSION_UNCLEAR = "session unclear"  # something is wrong with a session, perhaps another one


DESCRIPTIONS = {
    ToolServerFailure.ADDRESS: "its address is not one that may be connected to",
    ToolServerFailure.UNREACHABLE: "it cannot be reached",
    ToolServerFailure.DEADLINE: "it did not answer in time",
    ToolServerFailure.DISCONNECTED: "the connection broke before the answer was complete",
    ToolServerFailure.TOO_LARGE: "its answer was too large",
    ToolServerFailure.ENCODED: "its answer was compressed, which is not accepted",
    ToolServerFailure.MALFORMED: "its answer did not follow the protocol",
    ToolServerFailure.REDIRECT: "it redirects to another address",
    ToolServerFailure.CREDENTIAL: "it did not accept the credential",
    ToolServerFailure.ENDED: "it has to be connected again",
    ToolServerFailure.RENEWAL: "its access token could not be renewed just now",
    ToolServerFailure.FORBIDDEN: "it forbids this (403)",
    ToolServerFailure.BUSY: "it is too busy",
    ToolServerFailure.SERVER_ERROR: "it failed with a server error",
    ToolServerFailure.REJECTED: "it rejected the request",
    ToolServerFailure.VERSION: "it does not speak a version of the protocol that we do",
    ToolServerFailure.OLD_TRANSPORT: (
        "it speaks the old HTTP+SSE transport; give its Streamable HTTP address (often /mcp)"
    ),
    ToolServerFailure.SESSION_GONE: "it ended the session",
    ToolServerFailure.SESSION_UNCLEAR: "it answered that something is wrong with a session",
}
NO_CREDENTIAL = "it asks for a credential (401), and it is set up without one"

# The server says, or we know, that the call was not carried out.
NOT_EXECUTED = frozenset(
    {
        ToolServerFailure.ADDRESS,
        ToolServerFailure.UNREACHABLE,
        ToolServerFailure.REDIRECT,
        ToolServerFailure.CREDENTIAL,
        ToolServerFailure.ENDED,
        ToolServerFailure.RENEWAL,
        ToolServerFailure.FORBIDDEN,
        ToolServerFailure.BUSY,
        ToolServerFailure.REJECTED,
        ToolServerFailure.VERSION,
        ToolServerFailure.OLD_TRANSPORT,
        ToolServerFailure.SESSION_GONE,
    }
)

# Worth another short try, where that does no harm.
RETRYABLE = frozenset(
    {
        ToolServerFailure.UNREACHABLE,
        ToolServerFailure.DISCONNECTED,
        ToolServerFailure.BUSY,
        ToolServerFailure.SERVER_ERROR,
        ToolServerFailure.SESSION_UNCLEAR,
    }
)

# A server that is away when a run starts may be back later in it.
AWAY = RETRYABLE | {
    ToolServerFailure.DEADLINE,
    ToolServerFailure.SESSION_GONE,
    ToolServerFailure.RENEWAL,
}

# Only the user can help, or an administrator, by connecting the server again.
UNCONNECTED = frozenset({ToolServerFailure.CREDENTIAL, ToolServerFailure.ENDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError:
    """An error that a server put in place of a result, in its own words."""

    message: str
    code: int | None = None
    data: Any = None


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What became of one request: filled in by the transport, read by whoever asked.

    `sent` turns True right before its first byte leaves. `status` is the HTTP status of the
    latest answer, `in_session` whether the request named a session. `detail` is what the server
    added to a fault, uncleaned. With `answered` there is an `error` or a `result`, as received.
    """

    sent: bool = False
    status: int = 0
    in_session: bool = False
    fault: ToolServerFailure | None = None
    detail: str = ""
    answered: bool = False
    error: ServerError | None = None
    result: Any = None

    def take(self, *, error: ServerError | None, result: Any) -> None:
        """Take what the server answered."""
        self.answered, self.error, self.result = True, error, result

    def reset(self) -> None:
        """Forget the last try."""
        self.sent = self.in_session = self.answered = False
        self.status, self.fault, self.detail = 0, None, ""
        self.error, self.result = None, None


class NoResponse(Exception):
    """A request ended without a usable answer; `detail` is what the server said, uncleaned."""

    def __init__(self, fault: ToolServerFailure, detail: str = "") -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.detail = detail


class ResponseRejected(Exception):
    """The answer is not one that we take."""

    def __init__(self, fault: ToolServerFailure, detail: str = "") -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.detail = detail


class Answered(Exception):
    """The server answered with an error of its own."""

    def __init__(self, error: ServerError) -> None:
        super().__init__("the server answered with an error")
        self.error = error
