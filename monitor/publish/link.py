"""One link to a broker through aiomqtt: made, cut and watched without its rough edges.

aiomqtt has no way to end a link but DISCONNECT, nor to learn of a lost one while a call is under way. What is
private is touched here alone; the dependency is pinned below 3, which is a different library.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

if TYPE_CHECKING:
    from typing_extensions import Buffer

_T = TypeVar("_T")

# How often a link under construction is looked at.
_LOOK_S = 0.2


def tls_socket(on_failure: Callable[[ssl.SSLError], None]) -> type[ssl.SSLSocket]:
    """A class of sockets that do not hide what is wrong with TLS.

    Args:
        on_failure: Told of an error of TLS while reading: a broker that does not accept our certificate says so after
            the handshake, and paho takes that for a link that ended.
    """

    class TlsSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            """Shake hands; or close and raise, since paho forgets the socket then: one open file for each try."""
            try:
                super().do_handshake(block)
            except BaseException:
                self.close()
                raise

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            """Read."""
            try:
                return super().recv(buflen, flags)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                on_failure(error)
                raise

        def send(self, data: Buffer, flags: int = 0) -> int:
            """Write; where the broker has hung up, its reason may still be there to be read."""
            try:
                return super().send(data, flags)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except OSError:
                with contextlib.suppress(OSError):
                    self.recv(1)
                raise

    return TlsSocket


async def enter(client: aiomqtt.Client) -> None:
    """Connect; the client is not to be used again after an error.

    Raises:
        MqttError, OSError, UnicodeError: The link cannot be made. ConnectionResetError: the broker closed it
            without an answer, which aiomqtt would take its whole time-out to notice.
    """
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        while not entering.done():
            await asyncio.wait({entering}, timeout=_LOOK_S)
            pinging = client._misc_task
            # Runs as long as the socket is open.
            if pinging is not None and pinging.done() and not entering.done():
                raise ConnectionResetError
        entering.result()
    except BaseException:
        # Where the broker did not answer in time, aiomqtt leaves the socket open and goes on pinging.
        cut(client)
        if client._client.socket() is None and not entering.done():
            # A thread is in connect() and cannot be called back; what it opens must not stay open.
            entering.add_done_callback(lambda ended: _cut_late(client, ended))
        else:
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)
        raise


def _cut_late(client: aiomqtt.Client, ended: asyncio.Future[aiomqtt.Client]) -> None:
    cut(client)
    if not ended.cancelled():
        # Its error was told long ago, in other words.
        ended.exception()


def tell_denials(client: aiomqtt.Client, denied: Callable[[str], object]) -> None:
    """Calls ``denied`` with the reason for each message that the broker acknowledges only to refuse it.

    Brokers of MQTT 5 do so where an access rule or a quota stands against it (those of 3.1.1 say nothing); aiomqtt
    takes any acknowledgement for a yes.
    """
    acknowledged: Any = client._client.on_publish

    def on_publish(paho: Any, data: Any, number: int, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            denied(str(reason))
        acknowledged(paho, data, number, reason, properties)

    client._client.on_publish = on_publish


def cut(client: aiomqtt.Client) -> None:
    """End the link without DISCONNECT, so that the broker publishes the will."""
    connection = client._client.socket()
    if isinstance(connection, socket.socket):
        with contextlib.suppress(OSError):
            # Not SSLSocket's own shutdown, which would go on in plain text; closing is left to paho's reader.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


async def first(lost: asyncio.Task[None], awaitable: Awaitable[_T]) -> _T:
    """The awaitable's result, or the error that ended ``lost`` as soon as it has ended.

    aiomqtt lets a call under way wait for its whole time-out when the link is lost.
    """
    call = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait({call, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            lost.result()
        return await call
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
