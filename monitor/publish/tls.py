"""Our side of an encrypted link to a broker: whom we trust, and who we are."""

from __future__ import annotations

import ssl
from pathlib import Path

from monitor.errors import UsageError


class TlsFileError(UsageError):
    """A file of certificates or keys cannot be used.

    Attributes:
        part: ``ca_file``, ``cert_file``, ``key_file`` or ``key_password``.
    """

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


def client_context(
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    key_password: str | None = None,
) -> ssl.SSLContext:
    """A context that verifies the broker's certificate and name, and shows our own certificate where there is one.

    Args:
        ca_file: PEM, who may have signed the broker's certificate; the system's store without it.
        cert_file: PEM, our certificate and those that lead to its root.
        key_file: PEM, its key; taken from ``cert_file`` without it.
        key_password: Of the key.

    Raises:
        TlsFileError: A file cannot be read or used.
    """
    for part, file in (("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)):
        if file is not None:
            _must_be_readable(part, file)
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except ssl.SSLError:
        raise TlsFileError("ca_file", f"{ca_file}: holds no certificate in PEM form") from None
    if cert_file is None:
        return context
    asked = False

    def password() -> str:
        # Without an answer of ours OpenSSL would ask on the terminal.
        nonlocal asked
        asked = True
        return key_password or ""

    part, holder = ("cert_file", cert_file) if key_file is None else ("key_file", key_file)
    try:
        context.load_cert_chain(cert_file, key_file, password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFileError(part, f"{holder}: the key is not that of the certificate") from None
        if asked and key_password is None:
            raise TlsFileError(part, f"{holder}: the key has a password, and key_password is not set") from None
        if asked:
            raise TlsFileError("key_password", f"not the password of {holder}") from None
        if not _holds(cert_file, "CERTIFICATE"):
            raise TlsFileError("cert_file", f"{cert_file}: holds no certificate in PEM form") from None
        raise TlsFileError(part, f"{holder}: holds no key in PEM form") from None
    except ValueError:
        raise TlsFileError("key_password", "too long for a password") from None
    return context


def _must_be_readable(part: str, file: Path) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise TlsFileError(part, f"{file}: {error.strerror}") from None


def _holds(file: Path, what: str) -> bool:
    return f"{what}-----".encode() in file.read_bytes()
