"""The files of the dashboard, held in memory with what a cache needs to know of them."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

# The system's own table differs between machines, and a module script needs the right type to run.
_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".md": "text/markdown",
}
# Below this the gzip header costs more than it saves.
_WORTH_COMPRESSING_BYTES = 512


@dataclass(frozen=True, slots=True)
class Page:
    """One file as it is sent.

    Attributes:
        content_type: Media type without charset; every file is UTF-8 text.
        etag: Changes with the content, unquoted.
        body: The bytes.
        packed: The bytes in gzip; None where that does not help.
    """

    content_type: str
    etag: str
    body: bytes = field(repr=False)
    packed: bytes | None = field(repr=False)


def load_pages() -> dict[str, Page]:
    """Every file of ``static/`` by its path below it, such as ``vendor/mqtt.min.js``; reads disk."""
    found: dict[str, Page] = {}
    _collect(resources.files("monitor.web").joinpath("static"), "", found)
    return found


def _collect(folder: Traversable, prefix: str, into: dict[str, Page]) -> None:
    for entry in folder.iterdir():
        path = prefix + entry.name
        if entry.is_dir():
            _collect(entry, f"{path}/", into)
            continue
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _TYPES:
            into[path] = _page(entry.read_bytes(), _TYPES[suffix])


def _page(body: bytes, content_type: str) -> Page:
    # mtime=0: the same content has the same bytes, whenever it was packed.
    packed = gzip.compress(body, mtime=0) if len(body) >= _WORTH_COMPRESSING_BYTES else None
    return Page(content_type, hashlib.sha256(body).hexdigest()[:16], body, packed)
