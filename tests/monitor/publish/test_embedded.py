from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from monitor.errors import UsageError
from monitor.publish.embedded import EmbeddedBroker
from monitor.publish.mqtt import MqttPublisher
from monitor.types import Message

pytestmark = pytest.mark.servers

# Starts a broker as a parent would, says which child it has, and waits to be killed.
PARENT = """
import asyncio, json
from monitor.publish.embedded import EmbeddedBroker

async def main():
    async with EmbeddedBroker(mqtt_port=0, ws_port=None) as broker:
        print(json.dumps([broker.pid, broker.mqtt_port]), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while alive(pid):
            await asyncio.sleep(0.02)


def test_tcp_and_websocket_clients_of_the_broker_meet() -> None:
    """An outside client of another library, over WebSocket, sees what a TCP client retained."""
    seen: list[tuple[bytes, bool]] = []
    arrived = threading.Event()

    def on_message(client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        # amqtt greets each client with retained messages of others' subscriptions, so there may be more.
        if message.topic == "vqwatch/n1/alerts":
            seen.append((message.payload, message.retain))
            arrived.set()

    async def scenario() -> None:
        async with EmbeddedBroker(mqtt_port=0, ws_port=0) as broker:
            assert broker.ws_port not in (0, None)
            publisher = MqttPublisher(broker.address, "n1")
            task = asyncio.create_task(publisher.run())
            publisher.offer(Message("vqwatch/n1/alerts", b"{}", qos=1, retain=True))
            await publisher.wait_connected()
            client = paho.Client(CallbackAPIVersion.VERSION2, transport="websockets", protocol=paho.MQTTv311)
            client.ws_set_options(path="/")
            client.on_message = on_message
            await asyncio.to_thread(client.connect, "127.0.0.1", broker.ws_port)
            client.loop_start()
            client.subscribe("vqwatch/n1/alerts")
            assert await asyncio.to_thread(arrived.wait, 20)
            client.disconnect()
            client.loop_stop()
            await publisher.close(10.0)
            await task

    asyncio.run(scenario())
    assert set(seen) == {(b"{}", True)}


@pytest.mark.parametrize("option", ["mqtt-port", "ws-port"])
async def test_a_port_in_use_is_one_line_that_names_the_option(option: str) -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = occupied.getsockname()[1]
        ports = {"mqtt_port": 0, "ws_port": 0} | {option.replace("-", "_"): port}
        broker = EmbeddedBroker(**ports)
        with pytest.raises(UsageError) as caught:
            await broker.start()
    assert str(caught.value) == f"port {port} is in use: choose another with --{option}"
    assert broker.pid is None


async def test_an_address_of_another_machine_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1 .*Cannot assign requested address"):
        await EmbeddedBroker("192.0.2.1", mqtt_port=0, ws_port=None).start()


async def test_it_ends_when_its_parent_is_killed() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        pid, port = json.loads(await asyncio.wait_for(parent.stdout.readline(), 20))
        assert alive(pid)
    finally:
        parent.kill()
        await parent.communicate()
    await gone(pid)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_signals_meant_for_the_parent_do_not_end_it(subscribe: Any) -> None:
    async with EmbeddedBroker(mqtt_port=0, ws_port=None) as broker:
        assert broker.pid is not None
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(broker.pid, name)
        await subscribe(broker.address)
        assert alive(broker.pid)
        assert os.getpgid(broker.pid) != os.getpgid(0)


async def test_its_death_is_noticed_and_it_starts_again_on_the_same_port(subscribe: Any) -> None:
    async with EmbeddedBroker(mqtt_port=0, ws_port=None) as broker:
        port, pid = broker.mqtt_port, broker.pid
        publisher = MqttPublisher(broker.address, "n1")
        task = asyncio.create_task(publisher.run())
        await publisher.wait_connected()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await broker.wait_died() == "the embedded broker was killed by signal 9"
        await broker.start()
        assert (broker.mqtt_port, broker.pid != pid) == (port, True)
        outside = await subscribe(broker.address)
        await outside.until_is("vqwatch/n1/status", b"online")
        await publisher.close(10.0)
        await task


async def test_stopping_is_no_death_and_is_clean_with_clients_connected(subscribe: Any) -> None:
    broker = EmbeddedBroker(mqtt_port=0, ws_port=None)
    await broker.start()
    pid = broker.pid
    assert pid is not None
    watch = asyncio.create_task(broker.wait_died())
    await subscribe(broker.address)
    await asyncio.sleep(0)
    async with asyncio.timeout(3.5):
        await broker.stop()
    assert not alive(pid)
    await asyncio.sleep(0.05)
    assert not watch.done()
    watch.cancel()
    await broker.stop()


async def test_waiting_for_the_death_of_what_does_not_run_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        await EmbeddedBroker().wait_died()


def test_a_publisher_on_this_machine_reaches_a_broker_that_listens_everywhere() -> None:
    assert str(EmbeddedBroker("0.0.0.0").address) == "mqtt://127.0.0.1:1883"
    assert str(EmbeddedBroker("::").address) == "mqtt://[::1]:1883"
