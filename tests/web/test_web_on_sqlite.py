"""The web process on the embedded database, in a file of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.accounts import SUBMIT
from tests.support.fork_server import ROOT
from tests.support.web_process import running_web

MAKE_ACCOUNT = """
import json, django
django.setup()
from tests.support.accounts import make_account
account = make_account("acme")
print(json.dumps({"bearer": account.bearer, "body": account.body()}))
"""


def run(database: str, *command: str) -> str:
    """Run Python on that database and return what it printed."""
    environment = {
        **os.environ,
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "caylex_project.settings",
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_parallel_submissions_and_polls_are_all_served(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'web.sqlite3'}"
    run(database, "manage.py", "migrate", "--verbosity", "0")
    account = json.loads(run(database, "-c", MAKE_ACCOUNT))

    async def use(address: str) -> list[tuple[int, int, str]]:
        async with httpx.AsyncClient(
            base_url=address, headers=account["bearer"], trust_env=False, timeout=60
        ) as client:

            async def one() -> tuple[int, int, str]:
                submitted = await client.post(SUBMIT, json=account["body"])
                polled = await client.get(submitted.headers["Location"])
                return submitted.status_code, polled.status_code, polled.json()["status"]

            return await asyncio.gather(*(one() for _ in range(40)))

    with running_web(database=database) as web:
        answers = asyncio.run(use(web.address))

    assert answers == [(202, 200, "PENDING")] * 40
