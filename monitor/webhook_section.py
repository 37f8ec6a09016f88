"""The part of the configuration that webhooks are made of."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator
from yarl import URL

from monitor.rule_sections import ID_PATTERN, Duration, Id, Section
from monitor.types import AlertEvent, Severity

# RFC 9110, 5.6.2: what the name of a header may hold.
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: Headers that a delivery sets itself, or that would change where and how it is sent.
_RESERVED = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "expect", "host", "te", "trailer",
     "transfer-encoding", "upgrade"}
)  # fmt: skip


def _usable_url(url: SecretStr) -> SecretStr:
    # The message must not repeat the address.
    try:
        parsed = URL(url.get_secret_value())
        usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("not an address: write http://host... or https://host...")
    return url


def _usable_secret(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("an empty key signs nothing; leave it out")
    return secret


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a header")
    if name.lower() in _RESERVED or name.lower().startswith("x-vqwatch-"):
        raise ValueError(f"{name} is set by vqwatch itself")
    return name


def _header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in text):
        raise ValueError("a header's value is one line without control characters")
    return value


def _some(values: object) -> object:
    if isinstance(values, str):
        return [values]
    if isinstance(values, list) and not values:
        raise ValueError("an empty list sends nothing; leave it out to send all")
    return values


def _some_of(item: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


_ID_SCHEMA = {"type": "string", "pattern": ID_PATTERN}


class WebhookSection(Section):
    """One receiver of alerts over HTTP."""

    name: Id = Field(description="what logs and the ledger call it")
    url: Annotated[SecretStr, AfterValidator(_usable_url)] = Field(description="http:// or https://; secret")
    secret: Annotated[SecretStr, AfterValidator(_usable_secret)] | None = Field(
        None, description="key of the HMAC-SHA256 signature; none is sent without it"
    )
    template: Literal["vqwatch", "alertmanager", "slack"] = Field("vqwatch", description="form of the body")
    severities: Annotated[tuple[Severity, ...], BeforeValidator(_some), _some_of({"enum": list(Severity)})] | None = (
        Field(None, description="alerts of these severities alone; null: all")
    )
    rules: Annotated[tuple[Id, ...], BeforeValidator(_some), _some_of(_ID_SCHEMA)] | None = Field(
        None, description="alerts of these rules alone; null: all"
    )
    timeout: Annotated[Duration, Field(gt=0)] = Field(10.0, description="longest time for one attempt")
    headers: dict[Annotated[str, AfterValidator(_header_name)], Annotated[SecretStr, AfterValidator(_header_value)]] = (
        Field({}, description="sent with each request; their values are secret")
    )

    @model_validator(mode="after")
    def _one_authorization(self) -> WebhookSection:
        named = any(name.lower() == "authorization" for name in self.headers)
        if named and URL(self.url.get_secret_value()).raw_user:
            raise ValueError("url and headers both hold credentials; give one")
        return self

    @property
    def destination(self) -> str:
        """Its name in the ledger."""
        return f"webhook:{self.name}"

    def wants(self, event: AlertEvent) -> bool:
        """Whether an alert is sent to it: both lists must have it, where both are given."""
        return (self.severities is None or event.severity in self.severities) and (
            self.rules is None or event.rule in self.rules
        )
