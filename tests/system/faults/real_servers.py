"""Tool servers that others wrote, and a task for each, in the middle of which it is killed.

All are programs of `make install-peers`. Those that speak over stdin are served by a gateway.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.run import free_port

STARTED_IN = 60.0  # seconds until a test gives up
HERE = Path(__file__).parent
MODULES = "node_modules/@modelcontextprotocol"

Turn = tuple[str, Mapping[str, Any]]


class Restart:
    """Between two turns: the server's processes are killed and started again."""


RESTART = Restart()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server runs: its programs, a folder of its own and its port."""

    peers: Path
    folder: Path
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A server and what a task does with it.

    `needs` is what has to be installed, `turns` are the calls of the task, with their restarts.
    `done` returns what the calls did, as the server's own data shows it, to be equal to `once`:
    each call once. `in_doubt` are the calls after which nobody can know.
    """

    needs: Sequence[str]
    command: Callable[[Place], Sequence[str]]
    turns: Callable[[Place], Sequence[Turn | Restart]]
    last_result: str
    prepare: Callable[[Place], None] = lambda _: None
    done: Callable[[Place], Sequence[str]] = lambda _: ()
    once: Sequence[str] = ()
    in_doubt: Sequence[str] = ()
    environment: Callable[[Place], Mapping[str, str]] = lambda _: {}


@dataclass(kw_only=True)
class RunningPeer:
    """A peer's processes, in one group: a gateway and the server behind it die together."""

    peer: Peer
    place: Place
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.place.port}/mcp"

    def start(self) -> None:
        """Start the server and wait until its port is open."""
        with (self.place.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.peer.command(self.place),
                cwd=self.place.folder,
                env={"PATH": os.environ["PATH"], **self.peer.environment(self.place)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        deadline = time.monotonic() + STARTED_IN
        while not _is_open(self.place.port):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the server where it stands; it may be dead already."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STARTED_IN)

    def restart(self) -> None:
        """Kill the server and start it again on the same port."""
        self.kill()
        self.start()

    @property
    def log(self) -> str:
        return (self.place.folder / "log").read_text(errors="replace")


def running_peer(peer: Peer, *, peers: Path, folder: Path) -> RunningPeer:
    """Prepare a server's folder; it is started by `start`."""
    folder.mkdir()
    place = Place(peers=peers, folder=folder, port=free_port())
    place.data.mkdir()
    peer.prepare(place)
    return RunningPeer(peer=peer, place=place)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _supergateway(server: str, *arguments: str, stateful: bool) -> Callable[[Place], list[str]]:
    """Serve a Node program over HTTP. `{data}` in an argument is the server's folder."""

    def command(place: Place) -> list[str]:
        program = place.peers / MODULES / server / "dist/index.js"
        own = [each.format(data=place.data) for each in arguments]
        gateway = str(place.peers / "node_modules/supergateway/dist/index.js")
        made = ["node", gateway, "--stdio", shlex.join(["node", str(program), *own])]
        made += ["--outputTransport", "streamableHttp", "--port", str(place.port)]
        return [*made, "--logLevel", "none", *(["--stateful"] if stateful else [])]

    return command


def _mcp_proxy(
    server: str, *arguments: str, stateless: bool = False
) -> Callable[[Place], list[str]]:
    """Serve a Python program over HTTP. `{data}` in an argument is the server's folder."""

    def command(place: Place) -> list[str]:
        programs = place.peers / "mcp/bin"
        own = [each.format(data=place.data) for each in arguments]
        mode = ["--stateless"] if stateless else []
        gateway = [str(programs / "mcp-proxy"), "--port", str(place.port), *mode, "--"]
        return [*gateway, str(programs / server), *own]

    return command


def _everything(place: Place) -> list[str]:
    return [
        "node",
        str(place.peers / MODULES / "server-everything/dist/index.js"),
        "streamableHttp",
    ]


def _note_server(environment: str, sdk: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        python = place.peers / environment / "bin/python"
        script = HERE / "note_server.py"
        return [str(python), str(script), sdk, str(place.port), str(place.data / "notes")]

    return command


def _lines(place: Place) -> Sequence[str]:
    return (place.data / "notes").read_text().splitlines()


def _moved(place: Place, before: str, after: str) -> Turn:
    return "move_file", {
        "source": str(place.data / before),
        "destination": str(place.data / after),
    }


def _entity(name: str) -> Turn:
    entity = {"name": name, "entityType": "note", "observations": [f"seen {name}"]}
    return "create_entities", {"entities": [entity]}


def _git(place: Place, *arguments: str) -> str:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com"]
    done = subprocess.run(
        ["git", *who, *arguments], cwd=place.data, check=True, capture_output=True, text=True
    )
    return done.stdout


def _make_file(place: Place) -> None:
    (place.data / "a.txt").write_text("the text")


def _make_repository(place: Place) -> None:
    _git(place, "init", "--quiet")
    _git(place, "commit", "--quiet", "--allow-empty", "--message", "first")
    (place.data / "file").write_text("text")
    _git(place, "add", "file")


def _commits_and_branches(place: Place) -> Sequence[str]:
    """Return the subjects of all commits, and the branches that were made of them."""
    subjects = _git(place, "log", "--reverse", "--format=%s")
    branches = _git(place, "branch", "--list", "after*", "--format=%(refname:short)")
    return [*subjects.splitlines(), *branches.splitlines()]


def _make_table(place: Place) -> None:
    with closing(sqlite3.connect(place.data / "db")) as database, database:
        database.execute("CREATE TABLE notes (text TEXT)")


def _rows(place: Place) -> Sequence[str]:
    with closing(sqlite3.connect(place.data / "db")) as database:
        return [text for (text,) in database.execute("SELECT text FROM notes ORDER BY rowid")]


def _inserted(text: str) -> Turn:
    return "write_query", {"query": f"INSERT INTO notes VALUES ('{text}')"}


def _of_notes(environment: str, sdk: str) -> Peer:
    """A server that is killed between two calls, and in the middle of one that had its effect."""
    return Peer(
        needs=(f"{environment}/bin/python",),
        command=_note_server(environment, sdk),
        turns=lambda _: (
            ("add", {"text": "before"}),
            RESTART,
            ("add", {"text": "after"}),
            ("add_and_die", {"text": "while it was killed"}),
            RESTART,
            ("add", {"text": "at last"}),
        ),
        last_result="added: at last",
        done=_lines,
        once=("before", "after", "while it was killed", "at last"),
        in_doubt=("add_and_die",),
    )


PEERS: Mapping[str, Peer] = {
    "everything": Peer(
        needs=(f"{MODULES}/server-everything",),
        command=_everything,
        environment=lambda place: {"PORT": str(place.port)},
        turns=lambda _: (
            ("echo", {"message": "before"}),
            RESTART,
            ("get-sum", {"a": 2, "b": 40}),
            ("echo", {"message": "after"}),
        ),
        last_result="Echo: after",
    ),
    "filesystem": Peer(
        needs=(f"{MODULES}/server-filesystem", "node_modules/supergateway"),
        command=_supergateway("server-filesystem", "{data}", stateful=True),
        prepare=_make_file,
        turns=lambda place: (
            _moved(place, "a.txt", "b.txt"),
            RESTART,
            _moved(place, "b.txt", "c.txt"),
            ("read_text_file", {"path": str(place.data / "c.txt")}),
        ),
        last_result="the text",
        done=lambda place: [each.name for each in place.data.iterdir()],
        once=("c.txt",),
    ),
    "memory": Peer(
        needs=(f"{MODULES}/server-memory", "node_modules/supergateway"),
        command=_supergateway("server-memory", stateful=False),
        environment=lambda place: {"MEMORY_FILE_PATH": str(place.data / "memory")},
        turns=lambda _: (_entity("before"), RESTART, _entity("after"), ("read_graph", {})),
        last_result="seen after",
        done=lambda place: [
            name
            for line in (place.data / "memory").read_text().splitlines()
            for name in ("before", "after")
            if f'"name":"{name}"' in line
        ],
        once=("before", "after"),
    ),
    "time": Peer(
        needs=("mcp/bin/mcp-proxy", "mcp/bin/mcp-server-time"),
        command=_mcp_proxy("mcp-server-time", stateless=True),
        turns=lambda _: (
            ("get_current_time", {"timezone": "UTC"}),
            RESTART,
            ("get_current_time", {"timezone": "Asia/Tokyo"}),
            (
                "convert_time",
                {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
            ),
        ),
        last_result="T21:00:00+09:00",
    ),
    "git": Peer(
        needs=("mcp/bin/mcp-proxy", "mcp/bin/mcp-server-git"),
        command=_mcp_proxy("mcp-server-git", "--repository", "{data}"),
        environment=lambda _: {
            "GIT_AUTHOR_NAME": "nobody",
            "GIT_AUTHOR_EMAIL": "nobody@example.com",
            "GIT_COMMITTER_NAME": "nobody",
            "GIT_COMMITTER_EMAIL": "nobody@example.com",
        },
        prepare=_make_repository,
        turns=lambda place: (
            ("git_commit", {"repo_path": str(place.data), "message": "before"}),
            RESTART,
            ("git_create_branch", {"repo_path": str(place.data), "branch_name": "after"}),
            ("git_branch", {"repo_path": str(place.data), "branch_type": "local"}),
        ),
        last_result="after",
        done=_commits_and_branches,
        once=("first", "before", "after"),
    ),
    "sqlite": Peer(
        needs=("mcp/bin/mcp-proxy", "mcp/bin/mcp-server-sqlite"),
        command=_mcp_proxy("mcp-server-sqlite", "--db-path", "{data}/db"),
        prepare=_make_table,
        turns=lambda _: (
            _inserted("before"),
            RESTART,
            _inserted("after"),
            ("read_query", {"query": "SELECT text FROM notes"}),
        ),
        last_result="after",
        done=_rows,
        once=("before", "after"),
    ),
    "fastmcp": _of_notes("fastmcp", "fastmcp"),
    "mcp-2": _of_notes("fastmcp", "mcp-2"),
    "mcp-1": _of_notes("mcp-1.9", "mcp-1"),
}
