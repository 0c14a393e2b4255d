"""The whole service on real processes, against the test's database, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import yaml
from mcp.server.mcpserver import Context, MCPServer
from starlette.types import ASGIApp

from tests.support import fork_server
from tests.support.cluster import Cluster, database_url, running_cluster
from tests.support.web_process import Web, running_web

PATIENCE = 60.0  # seconds until a test gives up
TERMINAL = ("COMPLETED", "INCOMPLETE", "FAILED")
MODEL = "test/model"


@dataclass
class Service:
    """A running service: its web process, its workers, and the keys of one project."""

    web: Web
    cluster: Cluster
    keys: Mapping[str, Any]

    @property
    def api(self) -> str:
        return f"{self.web.address}/api/v1"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys['platform_access_token']}"}

    def submit(self, prompt: str, *, user_email: str = "jane@example.com", **more: Any) -> str:
        body = {
            "caylex_api_key": self.keys["caylex_api_key"],
            "user_email": user_email,
            "prompt": prompt,
            **more,
        }
        answer = httpx.post(f"{self.api}/agent-task", json=body, headers=self.headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def poll(self, task_id: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.api}/agent-task/{task_id}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def wait(self, task_id: str) -> dict[str, Any]:
        """Poll until the task has ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            body = self.poll(task_id)
            if body["status"] in TERMINAL:
                return body
            time.sleep(0.05)
        raise AssertionError(f"{body}\n{self.cluster.log}")


def manage(*arguments: str) -> str:
    """Run a management command on the test's database, in a process of its own."""
    environment = {**os.environ, "DATABASE_URL": database_url()}
    done = fork_server.run("manage.py", *arguments, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def provision(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Make what the file names; return what the command printed."""
    path = folder / "provision.yaml"
    path.write_text(yaml.safe_dump({"tenant": "acme", "project": "support", **wanted}))
    made: dict[str, Any] = json.loads(manage("provision", str(path), "--json"))
    return made


@contextmanager
def running_service(keys: Mapping[str, Any]) -> Iterator[Service]:
    """Run the web process and the workers; settings come from `os.environ`."""
    with running_web(database=database_url()) as web, running_cluster() as cluster:
        yield Service(web=web, cluster=cluster, keys=keys)


class Ledger:
    """A tool server that does a thing for every call and hides no repetition.

    `append(text)` writes a line; `append_and_hang` writes one too and answers only at the end of
    the test. `entries` is what was done; `authorizations` is what each call carried.
    """

    def __init__(self, *, pause: float = 0.0) -> None:
        self.entries: list[str] = []
        self.keys: list[str] = []
        self.authorizations: list[str] = []
        self._pause = pause
        self._over = threading.Event()
        self._server: uvicorn.Server | None = None

    def _app(self) -> ASGIApp:
        server = MCPServer(name="ledger", log_level="WARNING")

        @server.tool(structured_output=False)
        async def append(text: str, ctx: Context) -> str:
            """Write a line into the ledger."""
            self.entries.append(text)
            headers = ctx.headers or {}
            self.keys.append(headers.get("idempotency-key", ""))
            self.authorizations.append(headers.get("authorization", ""))
            await asyncio.sleep(self._pause)
            return f"written: {text}"

        @server.tool(structured_output=False)
        async def append_and_hang(text: str) -> str:
            """Write a line into the ledger and keep the answer back."""
            self.entries.append(text)
            while not self._over.is_set():
                await asyncio.sleep(0.02)
            return f"written at last: {text}"

        return server.streamable_http_app()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve on loopback in a thread; yields the address."""
        server = uvicorn.Server(
            uvicorn.Config(self._app(), host="127.0.0.1", port=0, log_level="warning")
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            self._over.set()
            server.should_exit = True
            thread.join(PATIENCE)
