"""Word to the service manager: ready, alive, stopping (the protocol of sd_notify(3)).

Nothing is said where nobody listens: without ``NOTIFY_SOCKET`` all of this does nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """The service manager that started this process, if one did.

    Args:
        environment: Where it left its address and its patience.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        found = os.environ if environment is None else environment
        self._address = found.get("NOTIFY_SOCKET", "")
        microseconds = found.get("WATCHDOG_USEC", "")
        # It may be meant for a process that started this one.
        ours = found.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        #: Pause between two signs of life, half of what is allowed; None where none are asked for.
        self.period_s = int(microseconds) / 2e6 if microseconds.isdecimal() and ours and self._address else None

    def ready(self) -> None:
        """The process does its work from here on."""
        self._say("READY=1")

    def stopping(self) -> None:
        """The process is on its way out."""
        self._say("STOPPING=1")

    async def run(self) -> None:
        """Gives signs of life for as long as the event loop turns; returns where none are asked for."""
        while self.period_s is not None:
            self._say("WATCHDOG=1")
            await asyncio.sleep(self.period_s)

    def _say(self, text: str) -> None:
        if not self._address:
            return
        # A leading @ stands for Linux's abstract names.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as link:
                link.sendto(text.encode(), address)
        except OSError:
            # It will draw its own conclusions; there is nobody else to tell.
            pass
