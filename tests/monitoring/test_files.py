"""Nobody but the user of the service reads its keys, its database, or what its units write."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from caylex_project import environment
from caylex_project.private_files import private_database, private_folder, private_text

ROOT = Path(__file__).resolve().parent.parent.parent
PROVIDER_KEY = "openrouter-api-key"


@pytest.fixture(autouse=True)
def generous() -> Iterator[None]:
    """Let every new file be readable by all unless somebody sees to it."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_the_sqlite_file_and_those_beside_it_are_its_user_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite3"
    variables = {**os.environ, "DATABASE_URL": f"sqlite:///{file}"}
    script = (
        "import django, os, stat; django.setup(); from django.db import connection as c\n"
        "c.cursor().execute('CREATE TABLE a (b)')\n"
        f"print(*(oct(stat.S_IMODE(os.stat('{file}' + e).st_mode)) for e in ('', '-wal', '-shm')))"
    )
    variables["DJANGO_SETTINGS_MODULE"] = "caylex_project.settings"

    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.umask(0)\n{script}"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == ["0o600"] * 3


def test_a_database_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite3"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE a (b)")
    beside = [tmp_path / f"x.sqlite3{end}" for end in ("", "-wal", "-shm")]
    assert {mode(each) for each in beside} == {"0o644"}

    private_database(file)

    assert {mode(each) for each in beside} == {"0o600"}
    assert connection.execute("SELECT count(*) FROM a").fetchone() == (0,)
    connection.close()


def test_a_folder_in_the_place_of_the_database_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    with pytest.raises(IsADirectoryError):
        private_database(tmp_path)

    assert mode(tmp_path) == "0o755"


def test_keys_are_written_once_for_their_user_alone_in_a_closed_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    var = tmp_path / "var"
    var.mkdir(mode=0o755)
    monkeypatch.setattr(environment, "VAR_DIR", var)
    for name in ("SECRET_KEY", "CAYLEX_CREDENTIAL_KEYS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("DEBUG", "1")

    first, second = environment.load_environment(), environment.load_environment()

    assert first.secret_key == second.secret_key
    assert mode(var) == "0o700"
    assert {each.name: mode(each) for each in var.iterdir()} == {
        "secret_key": "0o600",
        "caylex_credential_keys": "0o600",
    }


def test_what_is_stricter_already_stays_so_and_a_text_is_not_written_twice(tmp_path: Path) -> None:
    folder, file = tmp_path / "var", tmp_path / "key"
    private_folder(folder)
    folder.chmod(0o500)
    private_folder(folder)
    private_text(file, "first")
    private_text(file, "second")

    assert mode(folder) == "0o500"
    assert (file.read_text(), mode(file)) == ("first", "0o600")


@pytest.mark.parametrize("unit", ["caylex-web.service", "caylex-workers.service"])
def test_the_units_let_nobody_else_read_what_they_write(unit: str) -> None:
    assert "\nUMask=0077\n" in (ROOT / "deploy" / unit).read_text()


def test_the_compose_file_gives_each_service_its_own_secrets_to_be_read_by_one_user() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]

    assert "chmod 0400" in text
    assert "0444" not in text
    assert {name for name, each in services.items() if PROVIDER_KEY in each["secrets"]} == {
        "workers"
    }
    for name in ("web", "migrate", "workers"):
        files = {each for each in services[name]["environment"] if each.endswith("_FILE")}
        assert len(files) == len(services[name]["secrets"]), name
