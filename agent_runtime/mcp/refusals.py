"""What a server means by refusing a request: a session that it lost, a version, a scope.

The protocol has a status for a lost session (404), and most servers send something else. A
request that a server refused because it knows no such session was not carried out, so that it
may be sent again in a new one. An error of the tool itself may speak of a session too, of a
browser or a database, after it did its work. So only a refusal that says nothing else counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

import httpx2
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from agent_runtime.mcp.errors import ServerError
from agent_runtime.text import clean_text

MAX_REFUSAL_BYTES = 2_000  # longer bodies are not a refusal of a session
SESSION_STATUS = (400, 401, 404, 410, 422, 503)  # 422: the Rust SDK
SESSION_CODES = (-32000, -32001, -32002, -32600)  # of JSON-RPC errors that say so
FALLBACK_VERSIONS = ("2025-06-18", "2025-03-26", "2024-11-05")

_PREFIX = (
    r"(?:(?:bad request|not found|unauthori[sz]ed|gone|service unavailable|unprocessable entity"
    r"|invalid request|(?:mcp |http |json-?rpc |protocol |request |server )?error)"
    r"(?: \(?-?\d+\)?)?[:,.;-]+ *)*"
)
_SESSION = r"(?:the )?(?:mcp[- ]?)?session(?:[- ]?id)?(?: header)?"
_NAMED = r"(?:[: ]+[\"'`(]?(?=[^ ]*[0-9-])[\w.:-]{4,128}[\"'`)]?)?"
_BAD = r"(?:not valid|not found|unknown|invalid|expired|missing|unrecogni[sz]ed|terminated)"
_REFUSED = re.compile(
    rf"{_PREFIX}(?:"
    rf"{_SESSION}{_NAMED}:? (?:is |was |has |has been |does )?(?:{_BAD}|not exist|required)"
    rf"|(?:no valid|no|no such|not a valid|{_BAD})(?:(?: or |/| and ){_BAD})* {_SESSION}"
    rf"|(?:received (?:a )?request )?before (?:the )?initiali[sz]"
    rf"|(?:{_SESSION} |server |client |connection |transport )?(?:is |was |has )?not (?:yet )?"
    rf"(?:been )?initiali[sz]ed"
    rf"|(?:unexpected message, )?expect(?:ed|ing)? (?:an )?initiali[sz]e"
    rf'|(?:method "?[\w/]+"? is )?invalid during session initiali[sz]ation'
    rf")"
)
# What may follow, where nothing but the words tells a refusal from an error of the tool.
_REST = re.compile(
    r"(?: header)?(?: provided| on (?:the|this) server| or (?:has )?(?:expired|invalid|missing)"
    r"|ation was complete)?"
    r"(?:[:(]? ?[\"'`(]?(?=[^ ]*[0-9-])[\w.:-]{4,128}[\"'`)]?)?"
    r"(?:[.,;:!)]* *(?:please |client |you )?(?:must |should )?(?:re-?initiali[sz]e|reconnect"
    r"|initiali[sz]e|start|send|request).*)?[.!]?$"
)
_MENTIONED = re.compile(r"\bsessions?\b|mcp-session-id")
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}")
_OF_VERSION = re.compile(r"version|-32022")
_CHALLENGE = re.compile(r'\b(error|scope)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class SessionWord(Enum):
    """What a refusal says of a session."""

    LOST = "lost"  # the server does not know ours, and did not look at the request
    UNGREETED = "ungreeted"  # it wants `initialize` first, and did not look at it either
    MENTIONED = "mentioned"  # it speaks of one, perhaps of another kind
    NOTHING = "nothing"


def session_word(
    *, words: str, status: int, error: ServerError | None, own_id: bool
) -> SessionWord:
    """Tell what a refusal means for the session that its request named.

    `error` is the JSON-RPC error, None for a plain HTTP refusal; `own_id` says that it names
    the request, as an error of a tool does and a refusal of a session seldom.
    """
    text = " ".join(clean_text(words[:MAX_REFUSAL_BYTES]).lower().split()).strip("\"'{}[] ")
    refused = _REFUSED.match(text)
    plain = status in SESSION_STATUS
    of_protocol = error is not None and (error.code in SESSION_CODES or not own_id)
    if refused and (plain or (of_protocol and _REST.match(text, refused.end()))):
        ungreeted = "initiali" in refused[0] or status in (400, 422)
        return SessionWord.UNGREETED if ungreeted else SessionWord.LOST
    return SessionWord.MENTIONED if _MENTIONED.search(text) else SessionWord.NOTHING


def older_versions(*, words: str, asked: str) -> list[str] | None:
    """Return the versions to ask for after `asked` was refused; None when it was not for that.

    Those that the refusal names, newest first; else the usual ones. Many servers refuse a
    version that they do not know, where the protocol wants them to answer with their own.
    """
    named = {*_VERSION.findall(words)} - {asked}
    known = [each for each in reversed(HANDSHAKE_PROTOCOL_VERSIONS) if each in named]
    if known:
        return known
    if not _OF_VERSION.search(words.lower()):
        return None
    return [each for each in FALLBACK_VERSIONS if each != asked]


def challenge(values: Iterable[str]) -> str:
    """Return what WWW-Authenticate says of why: its error and scope (RFC 6750)."""
    found = {key: quoted or bare for key, quoted, bare in _CHALLENGE.findall(", ".join(values))}
    return ", ".join(f"{key}: {found[key][:200]}" for key in ("error", "scope") if key in found)


def address(url: httpx2.URL) -> str:
    """Return an address as it may be shown: no user, no query, no fragment, a sane length."""
    shown = url.copy_with(userinfo=b"", query=None, fragment=None)
    return clean_text(str(shown))[:200]
