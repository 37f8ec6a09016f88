"""What the errors of a link to a broker mean, in words for an operator."""

from __future__ import annotations

import os
import socket
import ssl
from enum import StrEnum

import aiomqtt
from aiomqtt.exceptions import MqttConnectError

from monitor.publish.broker_address import BrokerAddress

#: Everything aiomqtt and the layers below raise for a link that cannot be made or kept. UnicodeError: a host
#: name that the resolver cannot encode.
LINK_ERRORS = (aiomqtt.MqttError, OSError, UnicodeError)


class LinkCode(StrEnum):
    """Why there is no link, in one word for programs."""

    AUTH = "auth"
    TLS = "tls"
    CONNECTION = "connection"
    REFUSED = "refused"


# CONNACK return codes of MQTT 3.1.1, and as the reason codes of MQTT 5 that paho turns them into.
_REFUSALS = {
    1: "it does not speak MQTT 3.1.1",
    2: "it refuses our client id",
    3: "it is not available",
    4: "credentials",
    5: "credentials",
    132: "it does not speak MQTT 3.1.1",
    133: "it refuses our client id",
    134: "credentials",
    135: "credentials",
    136: "it is not available",
}


def explain(error: BaseException, target: BrokerAddress) -> str:
    """One clause that says what is wrong; holds no credentials."""
    cause = _cause(error)
    if isinstance(error, MqttConnectError):
        refusal = _REFUSALS.get(_code(error), f"it refuses the connection (code {_code(error)})")
        if refusal != "credentials":
            return refusal
        return "it refuses the credentials" if target.username else "it asks for a user and a password"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"TLS: its certificate is not trusted ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {(cause.reason or 'handshake failed').replace('_', ' ').lower()}"
    if isinstance(cause, socket.gaierror | UnicodeError):
        return "its host name cannot be resolved"
    if isinstance(cause, ConnectionResetError):
        return "it closed the connection"
    if isinstance(cause, TimeoutError):
        return "no answer"
    if isinstance(cause, OSError):
        return os.strerror(cause.errno).lower() if cause.errno else "the connection broke"
    if isinstance(error, aiomqtt.MqttCodeError) or "Disconnected" in str(error):
        return "the connection was lost"
    return str(error).lower()


def code_of(error: BaseException) -> LinkCode:
    """Which of the kinds it is; AUTH and TLS, and mostly REFUSED, last until someone changes a setting."""
    if isinstance(error, MqttConnectError):
        return LinkCode.AUTH if _REFUSALS.get(_code(error)) == "credentials" else LinkCode.REFUSED
    return LinkCode.TLS if isinstance(_cause(error), ssl.SSLError) else LinkCode.CONNECTION


def is_configuration(error: BaseException) -> bool:
    """Whether trying again will hardly help until someone changes a setting: credentials, TLS."""
    refused = isinstance(error, MqttConnectError) and _code(error) not in (3, 136)
    return refused or isinstance(_cause(error), ssl.SSLError)


def _cause(error: BaseException) -> BaseException:
    # aiomqtt raises its own error "from None", which hides the system's but keeps it as the context.
    return error.__cause__ or error.__context__ or error


def _code(error: MqttConnectError) -> int:
    rc = error.rc
    return int(rc if isinstance(rc, int) else rc.value) if rc is not None else -1
