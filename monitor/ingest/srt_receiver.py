"""Receives one SRT feed and writes its bytes to stdout: the child process of ``srt_bridge``.

Run as a script, by path, with nothing but the standard library. It speaks SRT through the system's libsrt, the
library that srt-live-transmit itself stands on: that program takes the passphrase in its command line and nowhere
else, where every user of the machine can read it. This one reads what to do, as JSON, from the first line of stdin,
and says what happens on stderr, one JSON object a line: ``{"event": "connected"}`` or ``{"event": "failed", "code":
..., "transient": ..., "reason": ...}``.

It ends when the feed does, when stdin is closed, and with the thread that started it.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import sys
import threading
from typing import Any, NoReturn

# Names of the library in Debian and Ubuntu (OpenSSL and GnuTLS builds), newest first, and as built from source.
_LIBRARIES = (
    *(f"libsrt{flavour}.so.{version}" for version in ("1.6", "1.5", "1.4") for flavour in ("-openssl", "-gnutls", "")),
    "libsrt.so.1",
    "libsrt.so",
)

# Socket options (srt.h), the same in libsrt 1.4 and 1.5: number, and whether the value is a text.
_OPTIONS = {
    "passphrase": (26, True),
    "pbkeylen": (27, False),
    "connect_timeout_ms": (36, False),
    "rcvlatency": (43, False),
    "peerlatency": (44, False),
    "streamid": (46, True),
}

_ENOSERVER, _EASYNCFAIL = 1001, 6000

# What srt_getrejectreason says (access_control.h, srt.h): code, transient, words.
_REJECTIONS = {
    2: ("connection", True, "the other side rejected the connection"),
    5: ("connection", True, "the other side has no room for another connection"),
    8: ("connection", False, "the other side needs a newer SRT"),
    10: ("auth", False, "wrong passphrase"),
    11: ("auth", False, "a passphrase is set on one side only"),
    16: ("timeout", True, "no answer"),
    1400: ("connection", False, "the server cannot read the stream id"),
    1401: ("auth", False, "the server wants other credentials in the stream id"),
    1402: ("connection", True, "the server is overloaded"),
    1403: ("auth", False, "the server denies access to this stream id"),
    1404: ("not_found", True, "the server knows no such stream id"),
    1405: ("connection", False, "the server does not send on this port"),
    1409: ("connection", True, "the stream id is in use"),
}

# Of a live message: a payload is at most 1456 bytes.
_LONGEST_MESSAGE = 2048
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Does what the first line of stdin says, to the end."""
    # Before anything else: a child whose parent was killed must not hold its port.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    wanted = json.loads(sys.stdin.readline())
    receiver = _Receiver(_load(), wanted)
    threading.Thread(target=receiver.run, daemon=True).start()
    while os.read(0, 4096):
        pass
    receiver.close()
    os._exit(0)


class _Receiver:
    """One connection, in either direction, and its bytes to stdout.

    Threads: ``run`` in its own; ``close`` from another wakes it.
    """

    def __init__(self, library: ctypes.CDLL, wanted: dict[str, Any]) -> None:
        self._srt = library
        self._wanted = wanted
        self._rejected_caller: tuple[str, bool, str] | None = None
        self._log_handler = _LOG_HANDLER(self._log_line)
        library.srt_setloghandler(None, self._log_handler)
        library.srt_startup()
        self._socket: int = library.srt_create_socket()

    def run(self) -> None:
        """Connects, receives, and ends the process."""
        for name, (number, text) in _OPTIONS.items():
            value = self._wanted.get(name)
            if value is not None:
                data = value.encode() if text else struct.pack("i", value)
                if self._srt.srt_setsockflag(self._socket, number, data, len(data)) < 0:
                    _fail("connection", False, f"libsrt refuses the {name} given: {self._last_error()[1]}")
        if self._wanted["listen"]:
            self._listen()
        else:
            self._call()
        _say(event="connected")
        self._receive()

    def close(self) -> None:
        """Tells the other side that we go, which frees its slot at once."""
        self._srt.srt_close(self._socket)
        self._srt.srt_cleanup()

    def _call(self) -> None:
        address = self._resolved(socket.AI_ADDRCONFIG)
        if self._srt.srt_connect(self._socket, address, len(address)) < 0:
            code, words = self._last_error()
            reason = self._srt.srt_getrejectreason(self._socket)
            if code == _ENOSERVER:
                # libsrt does not look at ICMP, so a closed port is silent too.
                _fail("timeout", True, "nothing answers there")
            _fail(*_REJECTIONS.get(reason, ("connection", True, words)))

    def _listen(self) -> None:
        address = self._resolved(socket.AI_PASSIVE)
        listener = self._socket
        if self._srt.srt_bind(listener, address, len(address)) < 0 or self._srt.srt_listen(listener, 1) < 0:
            _fail("connection", True, f"cannot listen there: {self._last_error()[1]}")
        _say(event="listening")
        timer = threading.Timer(self._wanted["connect_timeout_ms"] / 1000, self._nobody_called)
        timer.daemon = True
        timer.start()
        caller = self._srt.srt_accept(listener, None, None)
        timer.cancel()
        if caller < 0:
            _fail("connection", True, self._last_error()[1])
        # One sender a feed; the next one is refused, as it should be.
        self._socket = caller
        self._srt.srt_close(listener)

    def _nobody_called(self) -> NoReturn:
        _fail(*(self._rejected_caller or ("timeout", True, "nobody called")))

    def _receive(self) -> NoReturn:
        buffer = ctypes.create_string_buffer(_LONGEST_MESSAGE)
        view = memoryview(buffer)
        receive = self._srt.srt_recvmsg
        while True:
            size = receive(self._socket, buffer, _LONGEST_MESSAGE)
            if size <= 0:
                code, words = self._last_error()
                if size < 0 and code // 1000 * 1000 == _EASYNCFAIL:
                    continue
                _fail("ended", True, "the sender closed the connection" if size == 0 else words)
            sent = 0
            while sent < size:
                sent += os.write(1, view[sent:size])

    def _resolved(self, flags: int) -> bytes:
        host, port = self._wanted["host"], self._wanted["port"]
        try:
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_DGRAM, flags=flags)
        except OSError as error:
            _fail("connection", True, f"the host's name cannot be resolved ({error.strerror})")
        # IPv4 first where nobody chose: "any" on IPv6 would keep IPv4 callers out.
        family, _, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        number = struct.pack("=H", family) + struct.pack("!H", place[1])
        if family == socket.AF_INET:
            return number + socket.inet_pton(family, str(place[0])) + bytes(8)
        address, scope = str(place[0]).partition("%")[0], int(place[3]) if len(place) > 3 else 0
        return number + bytes(4) + socket.inet_pton(family, address) + struct.pack("=I", scope)

    def _last_error(self) -> tuple[int, str]:
        code = self._srt.srt_getlasterror(None)
        return code, self._srt.srt_getlasterror_str().decode(errors="replace").strip().rstrip(".").lower()

    def _log_line(self, _opaque: Any, _level: int, _file: Any, _line: int, _area: Any, message: bytes | None) -> None:
        """A listener is not told why it sent a caller away; only libsrt's log says so."""
        text = (message or b"").decode(errors="replace").lower()
        if "bad password" in text or "wrong passw" in text or "badsecret" in text or "bad secret" in text:
            self._rejected_caller = ("auth", False, "somebody called with the wrong passphrase")
        elif "declares encryption" in text or "declares no encryption" in text or "unsecure" in text:
            self._rejected_caller = ("auth", False, "somebody called, but a passphrase is set on one side only")


_LOG_HANDLER = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p
)


def _load() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.srt_getlasterror_str.restype = ctypes.c_char_p
        return library
    _fail("protocol_missing", False, "libsrt is not installed")


def _say(**fields: object) -> None:
    os.write(2, json.dumps(fields).encode() + b"\n")


def _fail(code: str, transient: bool, reason: str) -> NoReturn:
    _say(event="failed", code=code, transient=transient, reason=reason)
    os._exit(1)


if __name__ == "__main__":
    main()
