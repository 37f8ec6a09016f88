"""How a webhook's requests are signed, so that a receiver knows that they are ours, whole and fresh. Pure."""

from __future__ import annotations

import hashlib
import hmac

#: Names of the headers that every delivery carries; the signature where there is a key.
DELIVERY_HEADER = "X-Vqwatch-Delivery"
TIMESTAMP_HEADER = "X-Vqwatch-Timestamp"
SIGNATURE_HEADER = "X-Vqwatch-Signature"


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the HMAC-SHA256, in lower-case hexadecimal, of the time stamp, a full stop and the body.

    Args:
        key: The shared secret, as UTF-8.
        timestamp: Exactly what stands in the time stamp's header: unix seconds in decimal.
        body: Exactly the bytes that are sent.

    Source: RFC 2104; the time stamp is signed too, so that an old request cannot be sent again as a new one.
    """
    signed = timestamp.encode("ascii") + b"." + body
    return "sha256=" + hmac.new(key, signed, hashlib.sha256).hexdigest()


def delivery_id(alert: str, status: str) -> str:
    """Identity of one raise or clear, the same on every attempt: the alert's UUID, a colon, its status."""
    return f"{alert}:{status}"
