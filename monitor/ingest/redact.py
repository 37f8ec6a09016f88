"""Credentials out of URLs and out of any text that may quote one.

Everything that leaves the ingest package as text (errors, ``StreamInfo.url``, FFmpeg's log lines) goes
through ``redact``. It works on text, not on parsed URLs, because what has to be cleaned is mostly a
sentence of FFmpeg's or an address that does not parse. Where a URL is ambiguous it removes too much rather
than too little.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

#: What stands where a secret stood.
MASK = "***"

_SCHEME = r"([A-Za-z][A-Za-z0-9+.\-]*://)"

# "user:" that is followed by something that is no port, and an @ later on: the password may hold an unencoded
# / ? # @ or quote. The second form, tried last, lets it hold blanks, but then no @, which may be another
# word's.
_NO_PORT = r"[^\s/?#\[\]'\"<>]*:(?!\d{1,5}(?:[/?#\s'\",;:)\]]|$)|\s|$)"
_ODD_USERINFO = re.compile(_SCHEME + _NO_PORT + r"(?:\S*@|[^\n@]*@)")

# RFC 3986 userinfo, up to the last @ of the authority; also a user name alone. Nothing before the @ is how multicast
# groups are written.
_USERINFO = re.compile(_SCHEME + r'[^\s/?#<>"]+@')

# The same behind a scheme whose :// was mistyped: rtsp//user:pass@host, https:/user:pass@host, rtsp:user:pass@host.
_MISTYPED_SCHEME = re.compile(
    r"\b((?:rtsps?|rtmps?|https?|udp|rtp|tcp|srt|mqtts?)(?::/?|//?))(?![/\s])[^\s/:@]*:[^\s]*@", re.IGNORECASE
)

# A whole URL as a percent-encoded query value: ?src=rtsp%3A%2F%2Fuser%3Apass%40host
_ENCODED_USERINFO = re.compile(r"(%3A%2F%2F)(?:(?!%2F)[^\s/&])*%40", re.IGNORECASE)

_HEADER = re.compile(r"((?:proxy-)?authorization\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)

# A value ends at & or a blank only: it may hold ; # ' and = itself.
_PAIR = re.compile(r'([^\s=&;#?/<>"\',]{1,80})=([^&\s<>"]*)')

_SECRET_WORDS = frozenset(
    {
        "auth",
        "code",
        "credential",
        "credentials",
        "expires",
        "hash",
        "hdnea",
        "hdntl",
        "hdnts",
        "hmac",
        "jwt",
        "key",
        "login",
        "pass",
        "policy",
        "psk",
        "pw",
        "pwd",
        "session",
        "sessionid",
        "sid",
        "sig",
        "sign",
        "streamid",
        "user",
        "username",
    }
)
_SECRET_PARTS = (
    "token",
    "secret",
    "passw",
    "passphrase",
    "signature",
    "credential",
    "apikey",
    "authkey",
    "streamid",
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def redact(text: str) -> str:
    """The text without user names, passwords and secret query values of the URLs in it.

    Args:
        text: A URL, or any text. Userinfo (``user:password@``) is replaced as a whole, as are the values of
            query keys that name a secret (token, key, pass, passphrase, signature, streamid, ...) and the
            content of authorization headers.

    Returns:
        The text with ``***`` in each such place; applying it again changes nothing.
    """
    text = _HEADER.sub(rf"\1{MASK}", text)
    text = _ODD_USERINFO.sub(rf"\1{MASK}@", text)
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _MISTYPED_SCHEME.sub(rf"\1{MASK}@", text)
    text = _ENCODED_USERINFO.sub(rf"\1{MASK}%40", text)
    return _redact_pairs(text)


def redact_path(path: str) -> str:
    """A path that names no file: it may be an address whose :// was mistyped, so nothing before its last @ is shown."""
    _, at, rest = path.rpartition("@")
    return f"{MASK}@{rest}" if at else redact(path)


def _redact_pairs(text: str) -> str:
    return _PAIR.sub(_mask_pair, text)


def _mask_pair(match: re.Match[str]) -> str:
    name, value = match.group(1), match.group(2)
    if _is_secret(unquote(name)):
        return f"{name}={MASK}"
    # The value of a harmless key can still hold pairs of its own: a=1;token=x, or a nested URL.
    return f"{name}={_redact_pairs(value)}"


def _is_secret(name: str) -> bool:
    lower = name.lower()
    if any(part in lower for part in _SECRET_PARTS):
        return True
    return lower in _SECRET_WORDS or any(word.lower() in _SECRET_WORDS for word in _WORDS.findall(name))
