"""A small MCP server over the demo's support tickets, with a bearer token for each user.

    python -m demo.tool_server --port 8902 --token jane=SECRET --token ben=OTHER

Tools: search_tickets, get_ticket and count_by_field read; add_note writes. The dates of the
tickets are moved so that the newest are from yesterday (see `tickets.py`).
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from starlette.types import ASGIApp, Receive, Scope, Send

from demo.tickets import Ticket, between, count_by, load_tickets

READ_ONLY = ToolAnnotations(read_only_hint=True)
MAX_LISTED = 100

Status = Literal["open", "pending", "resolved", "closed"]
Field = Literal["product", "category", "status", "priority", "customer"]


class Notes:
    """Notes on tickets, in memory and, when there is a file, as JSON lines in it.

    A note with an idempotency key that was seen before is not written again.
    """

    def __init__(self, *, path: Path | None) -> None:
        self._path = path
        self._notes: list[dict[str, str]] = []
        if path is not None and path.exists():
            self._notes = [json.loads(line) for line in path.read_text().splitlines()]

    def of(self, *, ticket: str) -> list[dict[str, str]]:
        """Return the notes on one ticket, without their keys."""
        found = [each for each in self._notes if each["ticket"] == ticket]
        return [{"author": each["author"], "text": each["text"]} for each in found]

    def add(self, *, ticket: str, author: str, text: str, key: str) -> bool:
        """Keep a note; return False when its key was seen before."""
        if key and any(each["key"] == key for each in self._notes):
            return False
        note = {"ticket": ticket, "author": author, "text": text, "key": key}
        self._notes.append(note)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(note) + "\n")
        return True


def make_server(
    *, tokens: Mapping[str, str], notes: Notes, tickets: list[Ticket] | None = None
) -> MCPServer:
    """Return the server. `tokens` maps each bearer token to its user's name."""
    server = MCPServer(
        name="tickets", instructions="Support tickets of a company.", log_level="WARNING"
    )

    def current() -> list[Ticket]:
        return tickets if tickets is not None else load_tickets(today=datetime.now(UTC).date())

    _add_lists(server, current)
    _add_single(server, current, notes, tokens)
    return server


def _add_lists(server: MCPServer, current: Callable[[], list[Ticket]]) -> None:
    @server.tool(annotations=READ_ONLY, structured_output=False)
    def search_tickets(
        query: str | None = None,
        status: Status | None = None,
        product: str | None = None,
        category: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int = 20,
    ) -> str:
        """Find support tickets, newest first.

        `query` is looked for in subject, body and customer. `since` and `until` are days
        (YYYY-MM-DD), both included. `total` in the answer counts all that match; at most
        `limit` (up to 100) are listed, without their bodies.
        """
        wanted = {"status": status, "product": product, "category": category}
        found = [
            each
            for each in _days(current(), since, until)
            if all(value is None or getattr(each, name) == value for name, value in wanted.items())
            and (
                not query or query.lower() in f"{each.subject} {each.body} {each.customer}".lower()
            )
        ]
        shown = found[::-1][: max(0, min(limit, MAX_LISTED))]
        return _json({"total": len(found), "tickets": [each.summary() for each in shown]})

    @server.tool(annotations=READ_ONLY, structured_output=False)
    def count_by_field(field: Field, since: str | None = None, until: str | None = None) -> str:
        """Count support tickets by product, category, status, priority or customer.

        `since` and `until` are days (YYYY-MM-DD), both included.
        """
        found = _days(current(), since, until)
        return _json({"field": field, "total": len(found), "counts": count_by(found, field=field)})


def _add_single(
    server: MCPServer,
    current: Callable[[], list[Ticket]],
    notes: Notes,
    tokens: Mapping[str, str],
) -> None:
    @server.tool(annotations=READ_ONLY, structured_output=False)
    def get_ticket(id: str) -> str:
        """Return one support ticket whole, with its body and notes, by its id (like T-1001)."""
        ticket = _find(current(), id)
        return _json({**ticket.summary(), "body": ticket.body, "notes": notes.of(ticket=id)})

    @server.tool(structured_output=False)
    def add_note(id: str, text: str, ctx: Context) -> str:
        """Add a note to a support ticket. Colleagues will see it."""
        headers = ctx.headers or {}
        ticket = _find(current(), id)
        added = notes.add(
            ticket=ticket.id,
            author=tokens.get(_bearer(headers.get("authorization", "")), "somebody"),
            text=text,
            key=headers.get("idempotency-key", ""),
        )
        return _json({"ticket": ticket.id, "added": added})


def _find(tickets: list[Ticket], ticket_id: str) -> Ticket:
    for each in tickets:
        if each.id == ticket_id:
            return each
    raise ToolError(f"There is no ticket {ticket_id}.")


def _days(tickets: list[Ticket], since: str | None, until: str | None) -> list[Ticket]:
    try:
        return between(tickets, since=since, until=until)
    except ValueError:
        raise ToolError("since and until must be days, as YYYY-MM-DD.") from None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class BearerRequired:
    """Answers 401 to whoever comes without one of the tokens; with no tokens, nobody is asked."""

    def __init__(self, app: ASGIApp, *, tokens: Mapping[str, str]) -> None:
        self._app = app
        self._tokens = tuple(tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer it here."""
        if scope["type"] == "http" and self._tokens and not self._knows(scope):
            headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b"A known bearer token is needed."})
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        token = _bearer(given).encode()
        return any(secrets.compare_digest(token, each.encode()) for each in self._tokens)


def make_app(*, tokens: Mapping[str, str], notes: Notes) -> ASGIApp:
    """Return the whole server as an ASGI application, at `/mcp`."""
    server = make_server(tokens=tokens, notes=notes)
    return BearerRequired(server.streamable_http_app(), tokens=tokens)


def main() -> None:
    """Run the server on loopback until it is stopped."""
    parser = argparse.ArgumentParser(description="The demo's tool server.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--token", action="append", default=[], metavar="USER=SECRET", help="may be repeated"
    )
    parser.add_argument("--notes", type=Path, help="file that keeps the notes, as JSON lines")
    given = parser.parse_args()
    tokens = {}
    for number, each in enumerate(given.token, start=1):
        user, equals, secret = each.partition("=")
        tokens[secret if equals else each] = user if equals else f"user {number}"
    app = make_app(tokens=tokens, notes=Notes(path=given.notes))
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
