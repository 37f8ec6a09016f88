"""The embedded broker's process: ``python -m monitor.publish.embedded_main``, its settings the one argument.

Started by ``monitor.publish.embedded`` alone. It answers one JSON line on stdout, the ports it listens on or
why it cannot, and lives until its standard input ends: when the parent closes it, or dies of anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from typing import Any

from amqtt.broker import Broker
from amqtt.errors import AMQTTError

_ANONYMOUS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


async def serve(host: str, mqtt_port: int, ws_port: int | None) -> int:
    """Serve until standard input ends.

    Args:
        host: Address to listen on.
        mqtt_port: TCP port, 0 for a free one.
        ws_port: WebSocket port, 0 for a free one, None for no WebSocket.

    Returns:
        Exit status: 0, or 1 where it could not listen.
    """
    ended = asyncio.Event()
    # Watched from the first moment: a parent that dies during the start must not leave an orphan.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _drain_stdin, ended)
    wanted = {"mqtt-port": mqtt_port} | ({} if ws_port is None else {"ws-port": ws_port})
    for option, port in wanted.items():
        # amqtt says only that something is in use, so each port is tried before.
        if problem := _cannot_listen(host, port):
            return _answer({"error": problem, "option": option, "port": port}, 1)
    bind = f"[{host}]" if ":" in host else host
    listeners = {"default": {"type": "tcp", "bind": f"{bind}:{mqtt_port}"}}
    if ws_port is not None:
        listeners["ws"] = {"type": "ws", "bind": f"{bind}:{ws_port}"}
    broker = Broker({"listeners": listeners, "plugins": _ANONYMOUS})
    try:
        await broker.start()
    except (AMQTTError, OSError) as err:
        return _answer({"error": str(err), "option": "mqtt-port", "port": mqtt_port}, 1)
    _answer({"mqtt_port": _port(broker, "default"), "ws_port": _port(broker, "ws")}, 0)
    await ended.wait()
    await broker.shutdown()
    return 0


def _drain_stdin(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        ended.set()


def _cannot_listen(host: str, port: int) -> str | None:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as err:
        return err.strerror or str(err)
    return None


def _port(broker: Broker, listener: str) -> int | None:
    # amqtt has no public way to learn the port chosen for 0; the dependency is pinned to 0.12.
    server = broker._servers.get(listener)
    return None if server is None else int(next(iter(server.instance.sockets)).getsockname()[1])


def _answer(content: dict[str, Any], status: int) -> int:
    print(json.dumps(content), flush=True)
    return status


def main() -> int:
    """Run the broker with the settings given as JSON: ``{"host":, "mqtt_port":, "ws_port":}``."""
    # A service manager's SIGTERM reaches every process of the service at once; the broker must outlive the
    # parent's last message ("stopped"), so only the parent ends it.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    # amqtt logs a traceback for each message that a slow subscriber does not take.
    logging.basicConfig(level=logging.CRITICAL)
    for logger in ("amqtt", "transitions", "websockets", "asyncio"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    return asyncio.run(serve(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
