"""A broker of our own for when none is configured: amqtt in a child process.

A process, not a task: amqtt's log floods, password hashing and fan-out to slow subscribers would take time
from the loop that ingests. The child ends with its parent, whatever the parent dies of, since it reads a pipe
that only the parent holds open.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import monitor
from monitor.errors import PublishError, UsageError
from monitor.publish.broker_address import BrokerAddress

# Importing amqtt takes 0.5 s on a free core; a loaded machine gets twenty times that.
_START_LIMIT_S = 15.0
_STOP_LIMIT_S = 3.0


class EmbeddedBroker:
    """An anonymous MQTT 3.1.1 broker on TCP and, if wanted, WebSocket, in a child process.

    Use as ``async with EmbeddedBroker() as broker:``; after ``wait_died`` returned, ``start`` starts another
    on the same ports. Retained messages live in its memory only; a reconnecting publisher sends them again.

    Args:
        host: Address to listen on; anything but loopback opens it, unauthenticated, to the network.
        mqtt_port: TCP port; 0 takes a free one.
        ws_port: WebSocket port (path ``/``); 0 takes a free one, None offers no WebSocket.

    Attributes:
        mqtt_port: Port in use, once started.
        ws_port: WebSocket port in use, once started.
    """

    def __init__(self, host: str = "127.0.0.1", mqtt_port: int = 1883, ws_port: int | None = 9001) -> None:
        self.host = host
        self.mqtt_port = mqtt_port
        self.ws_port = ws_port
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> BrokerAddress:
        """Where a publisher on this machine reaches it."""
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return BrokerAddress(local, self.mqtt_port)

    @property
    def pid(self) -> int | None:
        """Process id of the running broker."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the broker; returns once it listens.

        Raises:
            UsageError: A port is in use or not allowed; the message names its option.
            PublishError: The broker's process did not start.
        """
        settings = {"host": self.host, "mqtt_port": self.mqtt_port, "ws_port": self.ws_port}
        # The child finds this very package, wherever the parent was started.
        root = str(Path(monitor.__file__).resolve().parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "monitor.publish.embedded_main",
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C goes to a terminal's whole process group; only the parent ends the broker.
            process_group=0,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
        self._process = process
        try:
            answer = await asyncio.wait_for(_answer(process), _START_LIMIT_S)
        except BaseException as err:
            await self.stop()
            if isinstance(err, TimeoutError):
                raise PublishError("the embedded broker did not start in time") from None
            raise
        if "error" in answer:
            await self.stop()
            raise UsageError(_explain(self.host, answer))
        self.mqtt_port, self.ws_port = answer["mqtt_port"], answer["ws_port"]

    async def wait_died(self) -> str:
        """Wait until the broker's process ends by itself.

        Returns:
            How it ended, for a log: ``the embedded broker was killed by signal 9``. Does not return when
            ``stop`` ended it.
        """
        process = self._process
        if process is None:
            raise RuntimeError("the embedded broker is not running")
        status = await process.wait()
        if self._process is not process:
            await asyncio.Event().wait()
        self._process = None
        await process.communicate(b"")
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"the embedded broker {how}"

    async def stop(self) -> None:
        """End the broker: cleanly, by force after 3 s; does nothing where none runs."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            # Closes its standard input, which it takes as the sign to end.
            await asyncio.wait_for(process.communicate(b""), _STOP_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.communicate(b"")
        finally:
            if process.returncode is None:
                process.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()


async def _answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    line = await process.stdout.readline()
    try:
        content: dict[str, Any] = json.loads(line)
    except ValueError:
        raise PublishError(f"the embedded broker ended with status {await process.wait()}") from None
    return content


def _explain(host: str, answer: dict[str, Any]) -> str:
    port, option = answer["port"], answer["option"]
    if answer["error"] == os.strerror(errno.EADDRINUSE):
        return f"port {port} is in use: choose another with --{option}"
    return f"the embedded broker cannot listen on {host} port {port} (--{option}): {answer['error']}"
