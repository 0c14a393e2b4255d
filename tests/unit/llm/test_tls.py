"""The model's server is believed by the certificates that the environment names, and no others."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from agent_runtime.errors import ModelUnavailable
from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.mcp import transport
from agent_runtime.messages import user_message
from agent_runtime.net.tls import tls_context
from agent_runtime.ports import ModelRequest
from tests.support.model_server import completion
from tests.unit.llm.authority import serving, write_authority
from tests.unit.llm.conftest import KEY

REQUEST = ModelRequest(model="m", messages=[user_message("Hello")])
BODY = json.dumps(completion({"content": "Hi"})).encode()


async def ask(base_url: str) -> str:
    model = ChatCompletionsModel(base_url=base_url, api_key=KEY, stall_seconds=20)
    try:
        return (await model.complete(REQUEST)).text
    finally:
        await model.close()


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


async def test_an_unknown_authority_is_not_believed(tmp_path: Path) -> None:
    _, certificate = write_authority(tmp_path)
    async with serving(certificate, BODY) as base_url:
        with pytest.raises(ModelUnavailable, match="ClientConnectorCertificateError"):
            await ask(base_url)


@pytest.mark.parametrize("kind", ["file", "folder", "hashed folder", "second folder", "both"])
async def test_a_private_authority_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    authority, certificate = write_authority(tmp_path)
    folder, empty = tmp_path / "certs", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    if kind in ("file", "both"):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    if kind != "file":
        monkeypatch.setenv("SSL_CERT_DIR", str(empty if kind == "both" else folder))
        shutil.copy(authority, folder)
    if kind == "second folder":
        monkeypatch.setenv("SSL_CERT_DIR", f"{empty}:{folder}")
    if kind == "hashed folder":
        if not shutil.which("openssl"):
            pytest.skip("needs openssl, for the names of a hashed folder")
        command = ["openssl", "x509", "-hash", "-noout", "-in", str(authority)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        (folder / "ca.pem").rename(folder / f"{done.stdout.strip()}.0")
    async with serving(certificate, BODY) as base_url:
        assert await ask(base_url) == "Hi"


async def test_the_named_authorities_replace_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, _ = write_authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    subjects = [each["subject"] for each in tls_context().get_ca_certs()]
    assert subjects == [((("commonName", "Private CA"),),)]


def test_equal_settings_share_one_context(tmp_path: Path) -> None:
    authority, _ = write_authority(tmp_path)
    private = {"SSL_CERT_FILE": str(authority)}
    assert tls_context({}) is tls_context({})
    assert tls_context(private) is tls_context(dict(private))
    assert tls_context(private) is not tls_context({})


@pytest.mark.parametrize("environ", [{}, {"SSL_CERT_DIR": "."}])
def test_certificates_and_names_are_always_checked(environ: dict[str, str]) -> None:
    context = tls_context(environ)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_the_tools_have_the_same_context() -> None:
    assert transport.tls_context() is tls_context()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_cannot_be_read_is_named_when_the_model_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "missing"))
    with pytest.raises(ValueError, match=f"^{variable}: .*missing: No such file or directory$"):
        ChatCompletionsModel(base_url="https://host/v1", api_key="", stall_seconds=5)
    ChatCompletionsModel(base_url="http://host/v1", api_key="", stall_seconds=5)


def test_a_file_without_a_certificate_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(ValueError, match=r"SSL_CERT_FILE: .* holds no certificate in PEM"):
        tls_context()
