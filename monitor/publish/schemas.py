"""The published JSON Schemas (draft 2020-12) of the payloads, shipped inside the package."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

#: Payloads that have a schema: the last level of their topic.
PAYLOADS = ("state", "info", "alert", "alerts", "health")


def schema_text(payload: str) -> str:
    """The schema file of one payload, as shipped.

    Args:
        payload: One of ``PAYLOADS``.

    Raises:
        KeyError: There is no such payload.
    """
    if payload not in PAYLOADS:
        raise KeyError(payload)
    file = resources.files("monitor.publish").joinpath("schema", f"{payload}.json")
    return file.read_text(encoding="utf-8")


@cache
def load_schema(payload: str) -> dict[str, Any]:
    """The parsed schema of one payload, one of ``PAYLOADS``; shared, so not to be changed.

    The schema of ``alerts`` refers to that of ``alert`` by its ``$id``. Every property has a ``description``
    and a ``unit`` (an annotation: ``text``, ``count``, ``points``, ``ratio``, ``ms`` and so on).
    """
    schema: dict[str, Any] = json.loads(schema_text(payload))
    return schema
