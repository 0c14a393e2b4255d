"""The whole machine on one screen: `make demo`.

Starts the tool server, the web process and the workers over an embedded SQLite database, then
does what a backend does: submits a task over HTTP, polls, and prints the report.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import yaml

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var" / "demo"
PROMPT = "Go through last week's support tickets and report what keeps coming back."
OFFLINE = "offline/fixed-policy"
TERMINAL = ("COMPLETED", "INCOMPLETE", "FAILED")
PATIENCE = 60.0  # seconds for a process to come up
TASK_PATIENCE = 900.0  # seconds for the task; a real model takes its time


def free_port(preferred: int = 0) -> int:
    """Return the preferred port of loopback if nobody has it, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise SystemExit("There is no free port on 127.0.0.1.")


def kept_secret(name: str) -> str:
    """Return a secret of the demo, made on first use."""
    path = VAR / name
    if not path.exists():
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text()


def environment(*, model_port: int) -> dict[str, str]:
    """Return the variables of the demo's processes, as an operator would set them."""
    env = {
        **os.environ,
        "DEBUG": "1",
        "DATABASE_URL": f"sqlite:///{VAR / 'caylex.sqlite3'}",
        "CAYLEX_PRIVATE_NETWORKS": "127.0.0.0/8",
        "DEMO_TICKETS_TOKEN": kept_secret("tickets-token"),
        "PYTHONUNBUFFERED": "1",
    }
    if not os.environ.get("OPENROUTER_API_KEY"):
        env |= {
            "OPENROUTER_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
            "CAYLEX_DEFAULT_MODEL": OFFLINE,
            "CAYLEX_ALLOWED_MODELS": OFFLINE,
        }
    return env


def manage(env: dict[str, str], *arguments: str) -> str:
    """Run a management command to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"manage.py {arguments[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def provision(env: dict[str, str], *, tools_port: int) -> dict[str, str]:
    """Make or update the demo's project; return its token and key (kept for the next time)."""
    wanted = yaml.safe_load((ROOT / "demo" / "provision.yaml").read_text())
    wanted["servers"][0]["url"] = f"http://127.0.0.1:{tools_port}/mcp"
    wanted["skills"] = [str(ROOT / "demo" / skill) for skill in wanted["skills"]]
    path, kept = VAR / "provision.yaml", VAR / "keys.json"
    path.write_text(yaml.safe_dump(wanted))
    rotate = [] if kept.exists() else ["--rotate-keys"]
    made = json.loads(manage(env, "provision", str(path), "--json", *rotate))
    if made["platform_access_token"]:
        with open(os.open(kept, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump(made, file)
    keys: dict[str, str] = json.loads(kept.read_text())
    return keys


def make_staff(env: dict[str, str]) -> str:
    """Make the admin's sign-in once; return its password."""
    password = kept_secret("admin-password")
    code = (
        "from django.contrib.auth import get_user_model as g; U = g(); "
        "u, _ = U.objects.get_or_create(username='admin', is_staff=True, is_superuser=True); "
        "import os; u.set_password(os.environ['DEMO_ADMIN_PASSWORD']); u.save()"
    )
    manage({**env, "DEMO_ADMIN_PASSWORD": password}, "shell", "-c", code)
    return password


@contextlib.contextmanager
def running(env: dict[str, str], commands: dict[str, Sequence[str]]) -> Iterator[None]:
    """Keep the processes up, each with its log; end them in order."""
    processes = []
    try:
        for name, command in commands.items():
            with (VAR / f"{name}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *command],
                        cwd=ROOT,
                        env=env,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # Ctrl-C is ours to pass on
                    )
                )
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(url: str) -> None:
    """Wait until something answers there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, timeout=2, trust_env=False)
            return
        time.sleep(0.1)
    raise SystemExit(f"Nothing answers at {url}; the logs are in {VAR}.")


def do_the_job(*, api: str, keys: dict[str, str]) -> str:
    """Submit a task and poll it to its end, as a backend does; return its status."""
    headers = {"Authorization": f"Bearer {keys['platform_access_token']}"}
    with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
        body = {
            "caylex_api_key": keys["caylex_api_key"],
            "user_email": "jane@example.com",
            "prompt": PROMPT,
            "skill_ref": "weekly-report",
        }
        submitted = client.post(f"{api}/agent-task", json=body)
        if submitted.status_code != 202:
            raise SystemExit(f"The submit was refused: {submitted.text}")
        task_id = submitted.json()["task_id"]
        print(f"\nSubmitted: {PROMPT}\nTask {task_id}")
        task = poll(client, f"{api}/agent-task/{task_id}")
    print(f"\nStatus {task['status']} ({task['stop_reason']})")
    print(f"\n{task['report'] or task['error']}\n")
    return str(task["status"])


def poll(client: httpx.Client, url: str) -> dict[str, object]:
    """Poll until the task has ended, showing one live line."""
    deadline = time.monotonic() + TASK_PATIENCE
    shown = ""
    while time.monotonic() < deadline:
        task: dict[str, object] = client.get(url).raise_for_status().json()
        progress = task["progress"]
        assert isinstance(progress, dict)
        line = (
            f"{task['status']}: {progress['steps_completed']} steps, "
            f"{progress['tool_calls_made']} tool calls. {progress['current'] or ''}"
        )
        if line != shown:
            live = sys.stdout.isatty()
            print(f"\r\033[K{line[:150]}" if live else line, end="" if live else "\n", flush=True)
            shown = line
        if task["status"] in TERMINAL:
            return task
        time.sleep(0.2)
    raise SystemExit(f"The task has not ended after {TASK_PATIENCE:.0f} s; the logs are in {VAR}.")


def main() -> int:
    """Run the demo; 0 when the task COMPLETED."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the report")
    once = parser.parse_args().once
    os.umask(0o077)  # keys, logs and the database are nobody else's
    VAR.mkdir(parents=True, exist_ok=True)
    web, tools, model = free_port(8000), free_port(8902), free_port(8903)
    env = environment(model_port=model)
    offline = env.get("CAYLEX_DEFAULT_MODEL") == OFFLINE
    if offline:
        print(
            "OPENROUTER_API_KEY is not set: the offline model stands in. It is a fixed policy, not "
            "a language model;\nwhat it reports is computed from what the tools return."
        )
    manage(env, "migrate", "--verbosity", "0")
    keys = provision(env, tools_port=tools)
    password = make_staff(env)
    commands: dict[str, Sequence[str]] = {
        "tools": [
            "-m",
            "demo.tool_server",
            *("--port", str(tools)),
            *("--token", f"jane={env['DEMO_TICKETS_TOKEN']}"),
            *("--notes", str(VAR / "notes.jsonl")),
        ],
        "web": ["-m", "uvicorn", "caylex_project.asgi:application", "--port", str(web)],
        "workers": ["manage.py", "qcluster"],
    }
    if offline:
        commands["model"] = ["-m", "demo.offline_model.server", "--port", str(model)]
    base = f"http://127.0.0.1:{web}"
    with running(env, commands):
        wait_for(f"http://127.0.0.1:{tools}/mcp")
        wait_for(f"{base}/api/v1/docs")
        if offline:
            wait_for(f"http://127.0.0.1:{model}/v1/models")
        status = do_the_job(api=f"{base}/api/v1", keys=keys)
        print(f"Admin     {base}/admin/   user admin, password {password}")
        print(f"API docs  {base}/api/v1/docs")
        print(f"Logs      {VAR}")
        if not once:
            print("Press Ctrl-C to end.")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    return 0 if status == "COMPLETED" else 1


if __name__ == "__main__":
    sys.exit(main())
