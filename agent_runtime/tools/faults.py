"""What can go wrong on the way to a tool server and back, and what that means for a call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """Why a request to a server has no usable answer."""

    ADDRESS = "address"  # not one that we connect to; nothing was sent
    UNREACHABLE = "unreachable"  # no connection; nothing was sent
    DEADLINE = "deadline"  # no whole answer in time
    CUT = "cut"  # the connection broke while we sent or waited
    TOO_LARGE = "too large"  # more bytes, events or values than we take
    ENCODED = "encoded"  # compressed, although we ask for plain bytes
    GARBLED = "garbled"  # not the protocol
    REDIRECT = "redirect"  # to another origin
    CREDENTIAL = "credential"  # 401 or 403
    BUSY = "busy"  # 408, 425, 429, 503: not taken up
    SERVER_ERROR = "server error"  # another 5xx
    REJECTED = "rejected"  # another 4xx
    SESSION_GONE = "session gone"  # 404 with a session: not taken up, a new session is needed


SENTENCES = {
    Fault.ADDRESS: "its address is not one that may be connected to",
    Fault.UNREACHABLE: "it cannot be reached",
    Fault.DEADLINE: "it did not answer in time",
    Fault.CUT: "the connection broke before the answer was complete",
    Fault.TOO_LARGE: "its answer was too large",
    Fault.ENCODED: "its answer was compressed, which is not accepted",
    Fault.GARBLED: "its answer did not follow the protocol",
    Fault.REDIRECT: "it redirects to another address",
    Fault.CREDENTIAL: "it did not accept the credential",
    Fault.BUSY: "it is too busy",
    Fault.SERVER_ERROR: "it failed with a server error",
    Fault.REJECTED: "it rejected the request",
    Fault.SESSION_GONE: "it ended the session",
}

# The server says, or we know, that the call was not carried out.
NOT_DONE = frozenset(
    {
        Fault.ADDRESS,
        Fault.UNREACHABLE,
        Fault.REDIRECT,
        Fault.CREDENTIAL,
        Fault.BUSY,
        Fault.REJECTED,
        Fault.SESSION_GONE,
    }
)

# Worth another short try, where that does no harm.
PASSING = frozenset(
    {Fault.UNREACHABLE, Fault.CUT, Fault.BUSY, Fault.SERVER_ERROR, Fault.SESSION_GONE}
)


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What became of one request: filled in by the transport, read by whoever asked.

    `sent` turns True right before its first byte leaves, and stays True. `status` is the
    HTTP status of the latest answer.
    """

    sent: bool = False
    status: int = 0
    fault: Fault | None = None


class NoAnswer(Exception):
    """A request ended without a usable answer."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault
