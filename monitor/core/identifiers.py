"""Identifiers that sort by time."""

from __future__ import annotations

import uuid


def uuid7(unix_ms: int, random_bits: int) -> str:
    """A UUID of version 7 (RFC 9562, 5.7): 48 bits of milliseconds, then 74 bits of chance.

    Args:
        unix_ms: Milliseconds since 1970.
        random_bits: At least 74 random bits.
    """
    value = (unix_ms & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (random_bits >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | random_bits & (1 << 62) - 1
    return str(uuid.UUID(int=value))
