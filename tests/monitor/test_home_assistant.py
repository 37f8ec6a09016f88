"""Devices of Home Assistant, seen by a client that stands where Home Assistant would."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from monitor.broker_section import HomeAssistantSection
from monitor.home_assistant import HomeAssistant
from monitor.publish.broker_address import BrokerAddress
from monitor.publish.discovery import Discovery
from monitor.publish.mqtt import MqttPublisher
from monitor.publish.wire import Topics

pytestmark = pytest.mark.servers

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BrokerAddress]:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (Debian package mosquitto), which is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = await asyncio.create_subprocess_exec(MOSQUITTO, "-c", str(config), stderr=asyncio.subprocess.DEVNULL)
    yield BrokerAddress("127.0.0.1", port)
    process.kill()
    await process.wait()


class Home:
    """Home Assistant, as far as MQTT goes."""

    def __init__(self, address: BrokerAddress) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.kept: dict[str, dict[str, Any]] = {}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("homeassistant/#", qos=1)
        self.client.on_message = self._take
        until = time.monotonic() + 20
        while True:
            try:
                self.client.connect(address.host, address.port)
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)
        self.client.loop_start()

    def _take(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload))
        if message.payload and message.topic.endswith("/config"):
            self.kept[message.topic] = json.loads(message.payload)
        else:
            self.kept.pop(message.topic, None)

    async def devices(self, *names: str) -> None:
        async with asyncio.timeout(20):
            while sorted(device["dev"]["name"] for device in self.kept.values()) != sorted(names):
                await asyncio.sleep(0.02)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@asynccontextmanager
async def announcing(address: BrokerAddress, node: str = "n1") -> AsyncIterator[HomeAssistant]:
    publisher = MqttPublisher(address, node)
    task = asyncio.create_task(publisher.run())
    try:
        yield HomeAssistant(publisher, "1")
    finally:
        await publisher.close(5.0)
        await task


ON, OFF = HomeAssistantSection(), HomeAssistantSection(enabled=False)


async def test_devices_come_with_streams_and_go_with_them_over_restarts_too(broker: BrokerAddress) -> None:
    home = Home(broker)
    try:
        async with announcing(broker) as devices, announcing(broker, "n1_s") as others:
            others.update(ON, ["theirs"])
            devices.update(ON, ["a", "b"])
            await home.devices("a", "b", "theirs")
            devices.update(ON, ["b", "c"])
            await home.devices("b", "c", "theirs")
            home.heard.clear()
            home.client.publish("homeassistant/status", "online")
            async with asyncio.timeout(20):
                while len([topic for topic, payload in home.heard if topic.endswith("/config") and payload]) < 3:
                    await asyncio.sleep(0.02)
        async with announcing(broker) as devices:
            devices.update(None, ["b"])
            await asyncio.sleep(0.3)
            await home.devices("b", "c", "theirs")
            # What the run before left is gone as soon as the configuration speaks of Home Assistant.
            devices.update(ON, ["b"])
            await home.devices("b", "theirs")
            devices.update(OFF, ["b"])
            await home.devices("theirs")
            devices.update(ON, ["b"])
            await home.devices("b", "theirs")
            devices.update(None, ["b"])
            await home.devices("theirs")
    finally:
        home.close()


def test_a_device_reads_the_state_that_is_published() -> None:
    topics = Topics("n1")
    discovery = Discovery("homeassistant", topics, "1.2")
    message = discovery.announce("cam1")
    assert (message.topic, message.retain, message.qos) == (
        "homeassistant/device/vqwatch_n1_S_cam1/config", True, 1
    )  # fmt: skip
    device = json.loads(message.payload)
    assert device["stat_t"] == topics.state("cam1")
    assert device["avty"][0]["t"] == topics.status
    assert {name: part["uniq_id"] for name, part in device["cmps"].items()} == {
        name: f"vqwatch_n1_S_cam1_{name}" for name in ("score", "drop", "condition", "cause", "problem")
    }
    assert discovery.is_ours(message.payload)
    assert not Discovery("homeassistant", Topics("n2"), "1.2").is_ours(message.payload)
    assert not any(map(discovery.is_ours, (b"", b"no json", b"[]", b'{"o": 1}', b'{"o": {"name": "vqwatch"}}')))


def test_two_nodes_never_share_a_device() -> None:
    one, other = Discovery("h", Topics("a"), "1"), Discovery("h", Topics("a_b"), "1")
    assert one.topic("b_c") != other.topic("c")
