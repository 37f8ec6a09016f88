"""A publisher in a process of its own, for tests that kill it: arguments are the port and the node."""

from __future__ import annotations

import asyncio
import signal
import sys

from monitor.publish.broker_address import BrokerAddress
from monitor.publish.mqtt import MqttPublisher


async def main(port: int, node: str) -> None:
    publisher = MqttPublisher(BrokerAddress("127.0.0.1", port), node)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(publisher.run())
        await stop.wait()
        await publisher.close()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
