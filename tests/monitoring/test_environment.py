"""Settings that would be wrong only later are refused at the start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caylex_project.environment import SQLITE_FILE, load_environment, unknown_names

ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN = "a-token-for-metrics-0123456789"
GOOD_KEY = "q8-" * 9 + "a good key, 48 characters long"
FORMS = "Use postgresql://user:password@host/name, sqlite:///path, or sqlite:// for a file in var/"
HOW = "Make one with: head -c 40 /dev/urandom | base64 -w 0"
REQUIRED = ["DATABASE_URL", "SECRET_KEY", "CAYLEX_CREDENTIAL_KEYS", "ALLOWED_HOSTS"]


def refusal() -> str:
    with pytest.raises(SystemExit) as caught:
        load_environment()
    return str(caught.value)


@pytest.mark.parametrize("keys", [",", " , ,", ",,"])
@pytest.mark.parametrize("debug", ["0", "1"])
def test_credential_keys_of_nothing_but_commas_are_refused(
    monkeypatch: pytest.MonkeyPatch, keys: str, debug: str
) -> None:
    monkeypatch.setenv("CAYLEX_CREDENTIAL_KEYS", keys)
    monkeypatch.setenv("DEBUG", debug)
    assert refusal() == "Settings: CAYLEX_CREDENTIAL_KEYS: holds no key"


def test_no_metrics_token_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAYLEX_METRICS_TOKEN", "")
    assert load_environment().caylex_metrics_token.get_secret_value() == ""


@pytest.mark.parametrize("token", ["short", "with a space in the middle", "ümläut-in-the-token-0"])
def test_a_metrics_token_that_fits_no_header_or_is_guessed_is_refused(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CAYLEX_METRICS_TOKEN", token)
    said = refusal()
    assert said == (
        "Settings: CAYLEX_METRICS_TOKEN: must be 16 or more printable ASCII characters "
        "without spaces"
    )
    assert token not in said


def test_the_metrics_token_may_come_from_a_file_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("secrets") / "metrics"
    file.write_text(f"{TOKEN}\n")
    monkeypatch.setenv("CAYLEX_METRICS_TOKEN_FILE", str(file))
    environment = load_environment()
    assert environment.caylex_metrics_token.get_secret_value() == TOKEN
    assert TOKEN not in repr(environment)


def test_what_is_missing_is_named_on_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALLOWED_HOSTS", "")
    monkeypatch.setenv("DEBUG", "0")

    assert refusal().splitlines() == [
        f"Settings: {name} is required unless DEBUG is on" for name in REQUIRED
    ]


@pytest.mark.parametrize("name", REQUIRED)
def test_each_of_the_required_is_required_by_itself(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)

    assert refusal() == f"Settings: {name} is required unless DEBUG is on"


@pytest.mark.parametrize("debug", ["1", "true", "t", "yes", "ON"])
def test_debug_makes_up_for_what_is_missing(monkeypatch: pytest.MonkeyPatch, debug: str) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DEBUG", debug)

    found = load_environment()

    assert found.database_url == SQLITE_FILE
    assert len(found.secret_key.get_secret_value()) == 44
    assert len(found.credential_keys) == 1


def test_sqlite_written_out_is_the_file_in_var(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    assert load_environment().database_url == SQLITE_FILE
    assert load_environment().on_sqlite


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://me:pa55word@h/n", f"names a database that is not supported. {FORMS}"),
        ("postgis://me:pa55word@h/n", f"names a database that is not supported. {FORMS}"),
        ("foo://me:pa55word@h/n", f"cannot be read. {FORMS}"),
        ("var/caylex.sqlite3", f"cannot be read. {FORMS}"),
        ("postgresql://me:pa55word@h:port/n", f"cannot be read. {FORMS}"),
        ("postgresql://me:pa55word@[::1/n", f"cannot be read. {FORMS}"),
        ("postgresql://me:pa55word@h", f"names no database. {FORMS}"),
        ("postgresql://me:pa55word@h/", f"names no database. {FORMS}"),
        ("sqlite:///", f"names no file. {FORMS}"),
        ("sqlite://:memory:", f"names no file. {FORMS}"),
        ("sqlite:///:memory:", f"names no file. {FORMS}"),
        ("sqlite://var/caylex.sqlite3", f"names no file. {FORMS}"),
        ("sqlite:///x?timeout=5", "takes no parameters for SQLite"),
        (
            "postgresql://me:pa55word@h/n?sslmod=require",
            "has a parameter that PostgreSQL does not know: sslmod",
        ),
    ],
)
def test_a_wrong_database_url_is_a_sentence_that_names_it_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    said = refusal()
    assert said == f"Settings: DATABASE_URL: {sentence}"
    assert "pa55word" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:p%40ss@h:5432/n?sslmode=require&connect_timeout=5",
        "postgres://h/n",
        "postgresql:///n?host=/run/postgresql",
        "sqlite:////srv/caylex.sqlite3",
    ],
)
def test_a_database_url_that_can_be_used_is_kept(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert load_environment().database_url == url


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("short", "has 5 characters and needs 32 or more"),
        ("x" * 31, "has 31 characters and needs 32 or more"),
        ("x" * 64, "can be guessed: it is a placeholder or repeats itself"),
        ("abcdefghij" * 5, "can be guessed: it is a placeholder or repeats itself"),
        (f"django-insecure-{GOOD_KEY}", "can be guessed: it is a placeholder or repeats itself"),
        (f"changeme {GOOD_KEY}", "can be guessed: it is a placeholder or repeats itself"),
        (f"CHANGE-ME {GOOD_KEY}", "can be guessed: it is a placeholder or repeats itself"),
        (f"your-secret-key {GOOD_KEY}", "can be guessed: it is a placeholder or repeats itself"),
        (f"secret-key-{GOOD_KEY}", "can be guessed: it is a placeholder or repeats itself"),
    ],
)
@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_secret_key_that_is_short_or_a_placeholder_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, key: str, sentence: str, debug: str
) -> None:
    monkeypatch.setenv("DEBUG", debug)
    monkeypatch.setenv("SECRET_KEY", key)
    said = refusal()
    assert said == f"Settings: SECRET_KEY: {sentence}. {HOW}"
    assert GOOD_KEY not in said


def test_a_long_random_secret_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", GOOD_KEY)
    assert load_environment().secret_key.get_secret_value() == GOOD_KEY


NO_HOST = "is no host name. Give names alone, like tasks.example.com, without a scheme or a port"
PART = (
    "Give the part before it, like https://openrouter.ai/api/v1: the service adds /chat/completions"
)
NOT_WEB = "must start with http:// or https://"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("ALLOWED_HOSTS", "https://a.example", f"'https://a.example' {NO_HOST}"),
        ("ALLOWED_HOSTS", "a.example,b.example:8000", f"'b.example:8000' {NO_HOST}"),
        ("ALLOWED_HOSTS", "a.example/x", f"'a.example/x' {NO_HOST}"),
        ("ALLOWED_HOSTS", "a.example b.example", f"'a.example b.example' {NO_HOST}"),
        ("ALLOWED_HOSTS", "*.example.com", f"'*.example.com' {NO_HOST}"),
        ("CSRF_TRUSTED_ORIGINS", "a.example", f"{NOT_WEB} (it is 'a.example')"),
        (
            "CSRF_TRUSTED_ORIGINS",
            "https://a.example/admin/",
            "'https://a.example/admin/' has more than a scheme, a host and a port",
        ),
        ("CAYLEX_PUBLIC_URL", "foo", f"{NOT_WEB} (it is 'foo')"),
        ("CAYLEX_PUBLIC_URL", "ftp://a.example", f"{NOT_WEB} (it is 'ftp://a.example')"),
        (
            "CAYLEX_PUBLIC_URL",
            "https://",
            "must name a host, and hold no spaces (it is 'https://')",
        ),
        (
            "CAYLEX_PUBLIC_URL",
            "https://a.example:port",
            "cannot be read as an address (it is 'https://a.example:port')",
        ),
        (
            "CAYLEX_PUBLIC_URL",
            "https://a.example/?x=1",
            "must not have a query or a fragment (it is 'https://a.example/?x=1')",
        ),
        (
            "OPENROUTER_BASE_URL",
            "https://a.example/v1/chat/completions",
            f"names one of the API's own addresses. {PART}",
        ),
        ("OPENROUTER_BASE_URL", "openrouter.ai/api/v1", NOT_WEB),
        ("OPENROUTER_BASE_URL", "http://", "must name a host, and hold no spaces"),
        (
            "CAYLEX_WORKERS",
            "four",
            "Input should be a valid integer, unable to parse string as an integer (it is 'four')",
        ),
        (
            "CAYLEX_TOOL_TIMEOUT_SECONDS",
            "inf",
            "Input should be less than or equal to 31536000 (it is 'inf')",
        ),
    ],
)
def test_a_value_of_the_wrong_form_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    assert refusal() == f"Settings: {name}: {sentence}"


def test_values_of_the_right_form_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "tasks.example.com, .example.org, [::1], 127.0.0.1, *")
    monkeypatch.setenv(
        "CSRF_TRUSTED_ORIGINS", "https://tasks.example.com:8443,https://*.example.org"
    )
    monkeypatch.setenv("CAYLEX_PUBLIC_URL", "https://tasks.example.com/caylex/")
    monkeypatch.setenv("OPENROUTER_BASE_URL", "http://me:pa55word@127.0.0.1:8080/v1/")

    found = load_environment()

    assert found.allowed_hosts == (
        "tasks.example.com",
        ".example.org",
        "[::1]",
        "127.0.0.1",
        "*",
    )
    assert found.csrf_trusted_origins == (
        "https://tasks.example.com:8443",
        "https://*.example.org",
    )
    assert found.caylex_public_url == "https://tasks.example.com/caylex"
    assert found.openrouter_base_url == "http://me:pa55word@127.0.0.1:8080/v1"


def test_a_value_and_a_file_of_one_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(GOOD_KEY)
    monkeypatch.setenv("SECRET_KEY_FILE", str(file))

    said = refusal()
    assert said == "Settings: SECRET_KEY and SECRET_KEY_FILE are both set. Keep one of them."
    monkeypatch.setenv("SECRET_KEY", "")  # as good as unset
    assert load_environment().secret_key.get_secret_value() == GOOD_KEY


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file or directory"),
        (b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.delenv("SECRET_KEY")
    monkeypatch.setenv("SECRET_KEY_FILE", str(file))

    assert refusal() == f"Settings: SECRET_KEY_FILE: {file}: {sentence}"


def test_an_empty_file_is_a_setting_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text("\n")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))

    assert refusal() == "Settings: DATABASE_URL is required unless DEBUG is on"


def test_names_that_are_nearly_settings_are_told_and_those_of_other_programs_are_not() -> None:
    said = "is not a setting and is ignored."
    assert unknown_names(
        [
            *("CAYLEX_WORKER", "CAYLEX_LEASE_SECOND_FILE", "CAYLEX_NONSENSE", "OPENROUTER_APIKEY"),
            *("CAYLEX_API_KEY", "CAYLEX_API_URL", "CAYLEX_PLATFORM_TOKEN", "CAYLEX_WORKERS"),
            *("CAYLEX_METRICS_TOKEN_FILE", "OPENROUTER_SITE", "PATH", "DATABASE_URL"),
        ]
    ) == [
        f"CAYLEX_LEASE_SECOND_FILE {said} Did you mean CAYLEX_LEASE_SECONDS_FILE?",
        f"CAYLEX_NONSENSE {said}",
        f"CAYLEX_WORKER {said} Did you mean CAYLEX_WORKERS?",
        f"OPENROUTER_APIKEY {said} Did you mean OPENROUTER_API_KEY?",
    ]


def start(**changes: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the service with other settings."""
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, **changes},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_with_a_misspelt_name_starts_and_says_so(tmp_path: Path) -> None:
    done = start(CAYLEX_WORKER="4", DATABASE_URL=f"sqlite:///{tmp_path / 'x.sqlite3'}")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == (
        "Settings: CAYLEX_WORKER is not a setting and is ignored. Did you mean CAYLEX_WORKERS?"
    )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://me:pa55word@h/n", f"names a database that is not supported. {FORMS}"),
        (
            "sqlite:////no/such/folder/x.sqlite3",
            "/no/such/folder/x.sqlite3: No such file or directory",
        ),
        ("sqlite:////", "/: Is a directory"),
    ],
)
def test_a_process_with_a_wrong_database_url_ends_with_one_line(url: str, sentence: str) -> None:
    done = start(DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr == f"Settings: DATABASE_URL: {sentence}\n"
