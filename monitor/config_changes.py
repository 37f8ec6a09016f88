"""What may change while the monitor runs, and what only a restart changes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from monitor.config import Config
from monitor.config_checks import broker_tls, tls_mark
from monitor.rules import StreamRules, rules_of
from monitor.stream_plan import StreamPlan, plan_of
from monitor.types import StreamId

#: The parts of the configuration that the process is built around.
_FIXED = ("node", "data_dir", "model", "sampling", "engine", "http", "history", "evidence")


@dataclass(frozen=True, slots=True)
class PreparedConfig:
    """A configuration ready to be applied: whatever takes time or may fail is done.

    Attributes:
        config: What can be in force: where only a restart would change a value, it is the present one.
        plans: How each stream is read.
        rules: How each stream is alerted.
        tls: Of the link to the broker.
        tls_mark: Changes with the content of its files.
        needs_restart: Keys whose new values wait for a restart.
    """

    config: Config
    plans: dict[StreamId, StreamPlan]
    rules: dict[StreamId, StreamRules]
    tls: ssl.SSLContext | None
    tls_mark: bytes
    needs_restart: tuple[str, ...]


def prepare(present: Config, wanted: Config) -> PreparedConfig:
    """Readies what is wanted; takes a while with many streams, and may run in any thread.

    Raises:
        UsageError: A certificate has become unusable since it was checked.
    """
    fixed = [*_FIXED]
    if present.broker.embedded or wanted.broker.embedded:
        # The embedded broker is a process of its own, which everyone who listens is connected to.
        fixed.append("broker")
    kept = {name: getattr(present, name) for name in fixed}
    needs_restart = [key for name in fixed for key in _differences(name, kept[name], getattr(wanted, name))]
    readers = present.ingest.readers
    if wanted.ingest.readers != readers:
        needs_restart.append("ingest.readers")
        kept["ingest"] = wanted.ingest.model_copy(update={"readers": readers})
    config = wanted.model_copy(update=kept)
    return PreparedConfig(
        config,
        {StreamId(section.id): plan_of(config, section) for section in config.streams},
        {StreamId(section.id): rules_of(config, section) for section in config.streams},
        broker_tls(config.broker),
        tls_mark(config.broker),
        tuple(needs_restart),
    )


def _differences(name: str, present: Any, wanted: Any) -> list[str]:
    if present == wanted:
        return []
    if isinstance(present, BaseModel):
        return [
            key
            for field in type(present).model_fields
            for key in _differences(f"{name}.{field}", getattr(present, field), getattr(wanted, field))
        ]
    return [name]
