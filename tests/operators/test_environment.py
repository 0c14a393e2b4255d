"""Settings that would be wrong only later are refused at the start."""

import pytest

from caylex_project.environment import load_environment

TOKEN = "a-token-for-metrics-0123456789"


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
