"""What can be wrong with a configuration beyond its keys: addresses that nobody can open, files that are not there."""

from __future__ import annotations

import contextlib
import ssl
from hashlib import sha256
from pathlib import Path

from monitor.broker_section import BrokerSection
from monitor.config import Check, Config, StreamSection
from monitor.errors import SourceError
from monitor.ingest.address import parse_address
from monitor.ingest.redact import redact_path
from monitor.publish.tls import TlsFileError, client_context
from monitor.rules import Problem

_MISTYPED = " (an address has :// after its protocol)"


def is_file(url: str) -> bool:
    """Whether a stream's URL is a file, replayed as if live."""
    return "://" not in url or url.startswith("file://")


def stream_problems(config: Config) -> list[Problem]:
    """Streams that can never be opened."""
    found = ((index, _stream_problem(section)) for index, section in enumerate(config.streams))
    return [Problem(("streams", index, "url"), message) for index, message in found if message is not None]


def broker_problems(config: Config) -> list[Problem]:
    """Certificates and keys that cannot be used."""
    try:
        broker_tls(config.broker)
    except TlsFileError as error:
        return [Problem(("broker", error.part), str(error))]
    return []


def broker_tls(section: BrokerSection) -> ssl.SSLContext | None:
    """What the link to the broker is encrypted with; None where it is not.

    Raises:
        TlsFileError: A file cannot be used.
    """
    if section.embedded or not section.address.tls:
        return None
    password = None if section.key_password is None else section.key_password.get_secret_value()
    return client_context(section.ca_file, section.cert_file, section.key_file, password)


def tls_mark(section: BrokerSection) -> bytes:
    """A hash of the files that the link is encrypted with: a certificate may be renewed under its old name."""
    mark = sha256()
    for file in (section.ca_file, section.cert_file, section.key_file):
        if file is not None:
            with contextlib.suppress(OSError):
                mark.update(file.read_bytes())
    return mark.digest()


#: All of them, for a configuration that is to be run.
CHECKS: tuple[Check, ...] = (stream_problems, broker_problems)


def _stream_problem(section: StreamSection) -> str | None:
    url = section.url.get_secret_value()
    if is_file(url):
        if Path(url.removeprefix("file://")).exists():
            return None
        mistyped = ":" in url.rpartition("@")[0]
        return f"{redact_path(url)}: no such file{_MISTYPED if mistyped else ''}"
    try:
        parse_address(url, live=True, read_timeout_s=1.0, options=section.source_options())
    except SourceError as error:
        # What is not there now may come back; what is no address never does.
        return None if error.transient else str(error)
    return None
