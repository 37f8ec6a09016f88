"""Host names to addresses, in threads that nobody else waits for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from aiohttp.abc import AbstractResolver, ResolveResult

_Key = tuple[str, int, socket.AddressFamily]


class NameLookup(AbstractResolver):
    """Resolves in a daemon thread of its own, one at a time for each name.

    asyncio's own look-ups share a few threads with everything else, MQTT's connections among it; a name server that
    does not answer holds each for up to half a minute, and the end of the process too.
    """

    def __init__(self) -> None:
        self._under_way: dict[_Key, asyncio.Future[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of a host.

        Raises:
            OSError: There is none.
        """
        key = (host, port, family)
        answer = self._under_way.get(key)
        if answer is None:
            loop = asyncio.get_running_loop()
            self._under_way[key] = answer = loop.create_future()
            answer.add_done_callback(lambda done: self._forget(key, done))
            threading.Thread(target=_look_up, args=(loop, answer, key), name="vqwatch.lookup", daemon=True).start()
        # Whoever waits may give up; the next one takes up the same look-up.
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Leaves look-ups to end by themselves."""

    def _forget(self, key: _Key, done: asyncio.Future[list[ResolveResult]]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # else asyncio complains where nobody waits any more


def _look_up(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[list[ResolveResult]], key: _Key) -> None:
    host, port, family = key
    addresses: list[ResolveResult] = []
    failure: OSError | None = None
    try:
        for kind, _, proto, _, address in socket.getaddrinfo(
            host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
        ):
            flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            addresses.append(
                ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=flags)
            )
    except OSError as error:
        failure = error
    except UnicodeError:
        failure = OSError("not a host name")

    def tell() -> None:
        if answer.done():
            return
        if failure is None:
            answer.set_result(addresses)
        else:
            answer.set_exception(failure)

    with contextlib.suppress(RuntimeError):  # the loop did not wait for us
        loop.call_soon_threadsafe(tell)
