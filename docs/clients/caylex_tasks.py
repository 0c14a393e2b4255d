"""A client for the agent-task API, to copy into a project: httpx, and nothing else.

with Caylex("https://tasks.example.com/api/v1", token="cpt_…", api_key="ck_…") as caylex:
    task_id = caylex.submit(user_email="jane@example.com", prompt="Count the tickets.")
    for event in caylex.events(task_id):
        print(event["type"])
    print(caylex.wait(task_id)["report"])
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Self

import httpx

Task = dict[str, Any]
Event = dict[str, Any]

ATTEMPTS = 5  # of a request that is safe to send again
BUSY = frozenset({429, 502, 503, 504})  # the service asks to come again
HOLD = 30  # seconds that a poll may be held
TOLERANCE = 300  # seconds that a webhook's clock may differ from ours


class CaylexError(Exception):
    """The service refused.

    `status` and `code` are for programs, `detail` for people; name `request_id` when you ask for
    help. `errors` holds `{"field", "code", "message"}` for each field that is wrong.
    """

    def __init__(self, response: httpx.Response) -> None:
        try:
            body = response.json()
        except ValueError:  # a proxy's own words
            body = {}
        self.status = response.status_code
        self.code = str(body.get("code", ""))
        self.detail = str(body.get("detail", response.reason_phrase))
        self.request_id = str(body.get("request_id", ""))
        self.errors: list[dict[str, str]] = body.get("errors", [])
        super().__init__(f"{self.status} {self.code}: {self.detail} ({self.request_id})")


class BadSignature(Exception):
    """The webhook is not from the service, or too old."""


class Caylex:
    """One service, one tenant's token, one navigator's key."""

    def __init__(self, url: str, *, token: str, api_key: str) -> None:
        self._api_key = api_key
        self._http = httpx.Client(
            base_url=url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(30, read=HOLD + 30),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, *, idempotency_key: str | None = None, **fields: Any) -> str:
        """Submit a task and return its id; `fields` as the API guide lists them.

        Where no answer comes it is sent again under the same key, so there is one task. Keep a
        key of your own with your order if your process may die in between.
        """
        return str(
            self._ask(
                "POST",
                "agent-task",
                json={"caylex_api_key": self._api_key, **fields},
                headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
            ).json()["task_id"]
        )

    def get(self, task_id: str) -> Task:
        """Return the task as it stands."""
        return _object(self._ask("GET", f"agent-task/{task_id}"))

    def wait(self, task_id: str, *, timeout: float = float("inf")) -> Task:
        """Return the task once it has ended. Raises TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        etag: dict[str, str] = {}
        while (left := deadline - time.monotonic()) > 0:
            hold = int(min(HOLD, left))
            response = self._ask(
                "GET", f"agent-task/{task_id}", params={"wait": hold}, headers=etag
            )
            if response.status_code == 200:
                task = _object(response)
                if task["terminal"]:
                    return task
                etag = {"If-None-Match": response.headers["ETag"]}
            if not hold:
                time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
        raise TimeoutError(f"The task {task_id} has not ended in time.")

    def events(self, task_id: str, *, after: int | None = None) -> Iterator[Event]:
        """Yield each event once, as it happens, until the task has ended; cuts are mended.

        `after` is the id of the last event that you have.
        """
        last, fruitless = after, 0
        while fruitless < ATTEMPTS:
            fruitless += 1
            pause = 0.1 * 2**fruitless
            try:
                for name, value in self._stream(task_id, last):
                    if name == "data":
                        event: Event = json.loads(value)
                        last, fruitless = event["id"], 0
                        yield event
                    elif name == "retry":
                        pause = int(value) / 1000
                if self._is_over(task_id, last):
                    return
            except httpx.TransportError:
                pass
            time.sleep(pause)
        raise ConnectionError(f"The events of {task_id} cannot be read.")

    def events_page(
        self, task_id: str, *, after: int | None = None, limit: int = 100
    ) -> dict[str, Any]:
        """Return a page of events; `next_starting_after` is the `after` of the next."""
        params = {"limit": limit} | ({} if after is None else {"starting_after": after})
        return _object(self._ask("GET", f"agent-task/{task_id}/events", params=params))

    def transcript(self, task_id: str) -> Iterator[dict[str, Any]]:
        """Yield what was said so far, oldest first."""
        cursor, more = "", True
        while more:
            params: dict[str, Any] = {"limit": 100, "cursor": cursor}
            page = _object(self._ask("GET", f"agent-task/{task_id}/transcript", params=params))
            yield from page["messages"]
            cursor, more = page["next_cursor"] or "", page["has_more"]

    def trace(self, session_id: str) -> Iterator[dict[str, Any]]:
        """Yield the calls of tools so far, a group for each step; poll for the session's id."""
        offset, more = 0, True
        while more:
            params = {"limit": 100, "offset": offset}
            path = f"queries/query-logs/{session_id}/trace"
            page = _object(self._ask("GET", path, params=params))
            yield from page["tool_call_groups"]
            offset, more = offset + 100, page["meta"]["has_next"]

    def tasks(self, *, metadata: Mapping[str, str] | None = None, **filters: Any) -> Iterator[Task]:
        """Yield your tasks, the newest first; filters as the API guide lists them."""
        params: dict[str, Any] = {f"metadata[{k}]": v for k, v in (metadata or {}).items()}
        params |= {"size": 100, **filters}
        more = True
        while more:
            page = _object(self._ask("GET", "agent-task", params=params))
            yield from page["items"]
            params["cursor"], more = page["meta"]["next_cursor"], page["meta"]["has_next"]

    def cancel(
        self, task_id: str, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Task:
        """Ask the task to stop; it has ended where `terminal` is true, else it soon will."""
        return self._act(task_id, "cancel", {"reason": reason}, idempotency_key)

    def retry(
        self,
        task_id: str,
        *,
        limits: Mapping[str, float] | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Resume a FAILED or INCOMPLETE task. Raises CaylexError, 409 in any other state."""
        return self._act(task_id, "retry", {"limits": limits}, idempotency_key)

    def continue_task(
        self,
        task_id: str,
        message: str,
        *,
        limits: Mapping[str, float] | None = None,
        idempotency_key: str | None = None,
    ) -> Task:
        """Give a task that has ended a further instruction. Raises CaylexError, 409 otherwise."""
        body = {"message": message, "limits": limits}
        return self._act(task_id, "continue", body, idempotency_key)

    def rerun(self, task_id: str, *, idempotency_key: str | None = None) -> str:
        """Make a new task of what an ended one was asked, and return its id."""
        return str(self._act(task_id, "rerun", {}, idempotency_key)["task_id"])

    def change_metadata(self, task_id: str, pairs: Mapping[str, str | None]) -> Task:
        """Set pairs of the task's metadata, and remove those that are None."""
        return _object(self._ask("PATCH", f"agent-task/{task_id}", json={"metadata": pairs}))

    def delete(self, task_id: str) -> None:
        """Delete a task that has ended. Raises CaylexError, 409 for one that has not."""
        self._ask("DELETE", f"agent-task/{task_id}")

    def _act(
        self, task_id: str, verb: str, body: Mapping[str, Any], idempotency_key: str | None
    ) -> Task:
        """Do something with a task once, however often it has to be sent."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        path = f"agent-task/{task_id}/{verb}"
        return _object(self._ask("POST", path, json=body, headers=headers))

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a request that does no harm when it is sent again."""
        for attempt in range(1, ATTEMPTS + 1):
            pause = 0.1 * 2**attempt
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError:
                if attempt == ATTEMPTS:
                    raise
            else:
                if response.status_code not in BUSY or attempt == ATTEMPTS:
                    return _checked(response)
                advised = response.headers.get("Retry-After", "")
                pause = float(advised) if advised.isdigit() else pause
            time.sleep(pause)
        raise AssertionError

    def _stream(self, task_id: str, last: int | None) -> Iterator[tuple[str, str]]:
        """Yield the fields of one stream that the reader needs, whole ones only."""
        headers = {"Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        with self._http.stream("GET", f"agent-task/{task_id}/events", headers=headers) as response:
            if response.status_code in BUSY:
                return
            if response.is_error:
                response.read()
            data = ""
            for line in _checked(response).iter_lines():
                name, _, value = line.partition(": ")
                if name == "retry":
                    yield name, value
                elif name == "data":
                    data = value
                elif not line and data:
                    yield "data", data
                    data = ""

    def _is_over(self, task_id: str, last: int | None) -> bool:
        """Tell whether a stream ended because there is no more to come."""
        page = self.events_page(task_id, after=last, limit=1)
        return bool(page["terminal"] and not page["events"])


def verify_webhook(
    secret: str, headers: Mapping[str, str], body: bytes, *, now: float | None = None
) -> dict[str, Any]:
    """Return what a webhook says once it is known to be from the service.

    `secret` is the endpoint's (`whsec_…`), `body` the bytes as they came: do not parse them
    before. The form is that of Standard Webhooks. An event may come more than once, with the same
    `webhook-id`. Raises BadSignature.
    """
    given = {name.lower(): value for name, value in headers.items()}
    ident, sent_at = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not sent_at.isascii() or not sent_at.isdigit():
        raise BadSignature("There is no webhook-timestamp.")
    if abs((time.time() if now is None else now) - int(sent_at)) > TOLERANCE:
        raise BadSignature("The webhook is too old, or the clocks differ.")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{ident}.{sent_at}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    for each in given.get("webhook-signature", "").split():
        version, _, signature = each.partition(",")
        if version == "v1" and hmac.compare_digest(signature.encode(), expected):
            told: dict[str, Any] = json.loads(body)
            return told
    raise BadSignature("No signature fits.")


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise CaylexError(response)
    return response


def _object(response: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = response.json()
    return found
