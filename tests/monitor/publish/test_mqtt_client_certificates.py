"""A broker that wants TLS, a password and a certificate of ours: what works, and what each mistake is called."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from monitor.publish.broker_address import BrokerAddress
from monitor.publish.mqtt import MqttPublisher
from monitor.publish.tls import TlsFileError, client_context
from tests.monitor.publish.certificates import Authority, Signed

pytestmark = pytest.mark.servers


class Strict(NamedTuple):
    """The broker, and who may enter it."""

    port: int
    ours: Authority
    theirs: Authority
    client: Signed


@pytest.fixture
async def strict(tmp_path: Path, mosquitto_with: Any) -> AsyncIterator[Strict]:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = ours.sign("broker")
    passwords = tmp_path / "passwords"
    passwords.write_text("op:right\n")
    hashing = await asyncio.create_subprocess_exec("mosquitto_passwd", "-U", str(passwords))
    assert await hashing.wait() == 0
    mosquitto = mosquitto_with(
        tmp_path,
        f"allow_anonymous false\npassword_file {passwords}\ncafile {ours.certificate}\n"
        f"certfile {server.certificate}\nkeyfile {server.key}\nrequire_certificate true",
    )
    await mosquitto.start()
    yield Strict(mosquitto.address.port, ours, theirs, ours.sign("client", "key-word"))
    await mosquitto.stop()


async def enter(strict: Strict, password: str, **files: Any) -> MqttPublisher:
    """A publisher that has got in, or knows why not."""
    address = BrokerAddress("127.0.0.1", strict.port, True, "op", password)
    publisher = MqttPublisher(address, "n1", tls=client_context(**files), protocol="auto")
    task = asyncio.create_task(publisher.run())
    async with asyncio.timeout(30):
        while publisher.trouble is None and not publisher.counts.connected:
            await asyncio.sleep(0.01)
    # Another attempt or two, which must not be told again.
    await asyncio.sleep(0.5)
    trouble = publisher.trouble, publisher.trouble_code
    await publisher.close(1.0)
    await task
    publisher.seen = trouble  # type: ignore[attr-defined]
    return publisher


async def test_the_right_password_and_certificate_are_let_in(strict: Strict, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vqwatch")
    ours, client = strict.ours.certificate, strict.client
    publisher = await enter(
        strict, "right", ca_file=ours, cert_file=client.certificate, key_file=client.key, key_password="key-word"
    )
    assert publisher.seen == (None, None)  # type: ignore[attr-defined]
    assert [record.getMessage() for record in caplog.records] == [
        f"event=broker_up broker=mqtts://127.0.0.1:{strict.port} node=n1 mqtt=5"
    ]


@pytest.mark.parametrize(
    ("mistake", "code", "words"),
    [
        ("password", "auth", "it refuses the credentials"),
        ("no certificate", "tls", "TLS: it asks for a certificate of ours"),
        ("certificate", "tls", "TLS: it does not accept our certificate (unknown ca)"),
        ("authority", "tls", "TLS: its certificate is not trusted (self-signed certificate in certificate chain)"),
    ],
)
async def test_each_mistake_is_one_clear_line_and_the_reason_for_readyz(
    strict: Strict, mistake: str, code: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = strict.theirs.sign("client") if mistake == "certificate" else strict.client
    files: dict[str, Any] = {"ca_file": (strict.theirs if mistake == "authority" else strict.ours).certificate}
    if mistake != "no certificate":
        files |= {"cert_file": client.certificate, "key_file": client.key, "key_password": "key-word"}
    publisher = await enter(strict, "wr0ng" if mistake == "password" else "right", **files)
    trouble, kind = publisher.seen  # type: ignore[attr-defined]
    assert ((trouble or "").replace("self signed", "self-signed"), kind) == (words, code)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"code={code} waiting=0 {trouble}; trying again" in record.getMessage()
    assert "wr0ng" not in caplog.text


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    locked, plain = authority.sign("locked", "key-word"), authority.sign("plain")
    text = tmp_path / "notes.pem"
    text.write_text("no certificate\n")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"ca_file": tmp_path / "none"}, "ca_file", "No such file"),
        ({"ca_file": text}, "ca_file", "holds no certificate"),
        ({"cert_file": text}, "cert_file", "holds no certificate"),
        ({"cert_file": plain.certificate}, "cert_file", "holds no key"),
        ({"cert_file": plain.certificate, "key_file": locked.key, "key_password": "key-word"}, "key_file", "not that"),
        ({"cert_file": locked.certificate, "key_file": locked.key}, "key_file", "key_password is not set"),
        (
            {"cert_file": locked.certificate, "key_file": locked.key, "key_password": "cAnArY7"},
            "key_password",
            "not the password",
        ),
    ]
    for files, part, words in cases:
        with pytest.raises(TlsFileError, match=words) as caught:
            client_context(**files)
        assert caught.value.part == part
        assert "cAnArY7" not in str(caught.value)
