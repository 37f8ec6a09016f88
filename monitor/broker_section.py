"""The parts of the configuration that say where and how results are published over MQTT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema, model_validator

from monitor.errors import UsageError
from monitor.publish.broker_address import BrokerAddress
from monitor.rule_sections import Section

Port = Annotated[int, Field(ge=0, le=65535)]
EMBEDDED = "embedded"


def _usable_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if text != EMBEDDED:
        try:
            BrokerAddress.parse(text)
        except UsageError as error:
            raise ValueError(str(error).removeprefix("broker URL: ")) from None
    return url


def _text(version: object) -> object:
    # YAML reads a bare 5 as a number.
    return str(version) if version == 5 else version


class BrokerSection(Section):
    """Where results are published."""

    url: Annotated[SecretStr, AfterValidator(_usable_url)] = Field(
        SecretStr(EMBEDDED), description="embedded, mqtt://[user:pass@]host[:port] or mqtts://..."
    )
    host: str = Field("127.0.0.1", description="address the embedded broker listens on")
    mqtt_port: Port = Field(1883, description="TCP port of the embedded broker; 0 takes a free one")
    ws_port: Port = Field(
        9001, description="WebSocket port of the broker, for the dashboard; 0 takes a free one (embedded)"
    )
    username: str | None = Field(None, description="user, where the URL names none")
    password: SecretStr | None = Field(None, description="password, where the URL holds none")
    protocol: Annotated[
        Literal["auto", "3.1.1", "5"], BeforeValidator(_text), WithJsonSchema({"enum": ["auto", "3.1.1", "5", 5]})
    ] = Field("auto", description="version of MQTT; auto: 5 where the broker speaks it, else 3.1.1")
    ca_file: Path | None = Field(
        None, description="PEM file of who may have signed the broker's certificate (mqtts); the system's store without"
    )
    cert_file: Path | None = Field(None, description="PEM file of our own certificate, for a broker that asks for one")
    key_file: Path | None = Field(None, description="PEM file of its key; cert_file holds it too without")
    key_password: SecretStr | None = Field(None, description="password of the key")

    @model_validator(mode="after")
    def _one_way_in(self) -> BrokerSection:
        url = self.url.get_secret_value()
        given = [name for name in ("username", "password", "ca_file", "cert_file", "key_file", "key_password")
                 if getattr(self, name) is not None]  # fmt: skip
        if url == EMBEDDED:
            if given:
                raise ValueError(f"{', '.join(given)}: of a broker that url names; the embedded one has no use for it")
            return self
        address = BrokerAddress.parse(url)
        if address.username is not None and {"username", "password"} & {*given}:
            raise ValueError("url and username or password both hold credentials; give one")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        tls = [name for name in given if name not in ("username", "password")]
        if tls and not address.tls:
            raise ValueError(f"{', '.join(tls)}: of an encrypted link; write mqtts:// in url")
        if self.cert_file is None and {"key_file", "key_password"} & {*given}:
            raise ValueError("a key needs its certificate: cert_file")
        return self

    @property
    def embedded(self) -> bool:
        """Whether the broker is our own."""
        return self.url.get_secret_value() == EMBEDDED

    @property
    def address(self) -> BrokerAddress:
        """Where an outside broker is, and as whom to enter it."""
        address = BrokerAddress.parse(self.url.get_secret_value())
        if self.username is None:
            return address
        password = None if self.password is None else self.password.get_secret_value()
        return BrokerAddress(address.host, address.port, address.tls, self.username, password)


class HomeAssistantSection(Section):
    """Devices in Home Assistant, by its discovery over MQTT."""

    enabled: bool = Field(True, description="false removes what was announced before")
    prefix: Annotated[str, Field(pattern=r"^[^+#$/\x00][^+#\x00]{0,200}$")] = Field(
        "homeassistant", description="discovery prefix of Home Assistant"
    )
