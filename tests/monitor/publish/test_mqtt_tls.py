from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest

from monitor.publish.broker_address import BrokerAddress
from monitor.publish.mqtt import MqttPublisher

pytestmark = pytest.mark.servers


@pytest.fixture
async def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself; its key lies beside it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate, which is not installed")
    path = tmp_path / "broker.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -out {path}"
    command += f" -keyout {path}.key -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    making = await asyncio.create_subprocess_exec(*command.split(), stderr=asyncio.subprocess.DEVNULL)
    assert await making.wait() == 0
    return path


@pytest.fixture
async def tls_broker(certificate: Path, tmp_path: Path, mosquitto_with: Any) -> Any:
    settings = f"allow_anonymous true\ncertfile {certificate}\nkeyfile {certificate}.key"
    mosquitto = mosquitto_with(tmp_path, settings)
    await mosquitto.start()
    yield BrokerAddress(mosquitto.address.host, mosquitto.address.port, tls=True)
    await mosquitto.stop()


async def test_a_trusted_broker_is_used_over_tls(tls_broker: BrokerAddress, certificate: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    publisher = MqttPublisher(tls_broker, "n1", tls=context)
    task = asyncio.create_task(publisher.run())
    async with asyncio.timeout(20):
        await publisher.wait_connected()
    await publisher.close()
    await task
    assert publisher.trouble is None


async def trouble_with(address: BrokerAddress, *codes: str) -> str | None:
    publisher = MqttPublisher(address, "n1")
    task = asyncio.create_task(publisher.run())
    async with asyncio.timeout(20):
        while publisher.trouble is None:
            await asyncio.sleep(0.01)
    trouble = publisher.trouble
    assert publisher.trouble_code in codes
    await publisher.close(1.0)
    await task
    return trouble


async def test_an_untrusted_broker_is_named_in_one_line(
    tls_broker: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    words = "TLS: its certificate is not trusted (self-signed certificate)"
    assert (await trouble_with(tls_broker, "tls") or "").replace("self signed", "self-signed") == words
    assert [(record.name, record.levelno) for record in caplog.records] == [("vqwatch.mqtt", logging.ERROR)]


async def test_plain_mqtt_to_a_tls_port_is_told_at_once(tls_broker: BrokerAddress) -> None:
    assert (
        await trouble_with(BrokerAddress(tls_broker.host, tls_broker.port), "connection") == "it closed the connection"
    )


@pytest.mark.parametrize("broker", ["mosquitto"], indirect=True)
async def test_tls_to_a_plain_port_is_a_tls_error(broker: Any) -> None:
    trouble = await trouble_with(BrokerAddress(broker.address.host, broker.address.port, tls=True), "tls", "connection")
    assert trouble is not None
    assert "TLS" in trouble or trouble == "it closed the connection"
