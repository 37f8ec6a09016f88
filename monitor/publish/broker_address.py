"""Where the broker is, and as whom to enter it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from monitor.errors import UsageError

_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Address of an MQTT broker. Neither ``repr`` nor ``str`` shows the credentials.

    Attributes:
        host: Name or address, IPv6 without brackets.
        port: 1-65535.
        tls: ``mqtts``.
        username: None for an anonymous login.
        password: None for none.
    """

    host: str
    port: int = _PORTS["mqtt"]
    tls: bool = False
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``mqtt://[user:password@]host[:port]`` or ``mqtts://...``.

        User and password are percent-decoded; ports default to 1883 and 8883.

        Raises:
            UsageError: Not such a URL. The message does not repeat it, as it may hold a password.
        """
        expected = "expected mqtt://[user:password@]host[:port] or mqtts://..."
        encode = "write / ? # @ : in a user or password as %2F %3F %23 %40 %3A"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError(f"broker URL: bad host or port; {expected}; {encode}") from None
        if parts.scheme not in _PORTS:
            raise UsageError(f"broker URL: {expected}")
        if not parts.hostname or any(c.isspace() for c in parts.hostname):
            raise UsageError(f"broker URL: no host; {expected}; {encode}")
        if port == 0:
            raise UsageError(f"broker URL: port must be 1-65535; {expected}")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise UsageError(f"broker URL: nothing may follow the port; {expected}; {encode}")
        if parts.password is not None and not parts.username:
            # MQTT 3.1.1 has no password without a user [MQTT-3.1.2-22].
            raise UsageError(f"broker URL: a password needs a user; {expected}")
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            username=unquote(parts.username) if parts.username else None,
            password=None if parts.password is None else unquote(parts.password),
        )
