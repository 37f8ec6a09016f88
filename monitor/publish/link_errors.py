"""What the errors of a link to a broker mean, in words for an operator."""

from __future__ import annotations

import os
import re
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


#: CONNACK codes that refuse the version of the protocol.
_VERSION = (1, 132)

# CONNACK return codes of MQTT 3.1.1, and as the reason codes of MQTT 5 that paho turns them into.
_REFUSALS = {
    1: "it does not speak this version of MQTT",
    2: "it refuses our client id",
    3: "it is not available",
    4: "credentials",
    5: "credentials",
    132: "it does not speak this version of MQTT",
    133: "it refuses our client id",
    134: "credentials",
    135: "credentials",
    136: "it is not available",
}

# What a broker says to our certificate, in the words of OpenSSL: TLSV1_ALERT_UNKNOWN_CA, SSLV3_ALERT_BAD_CERTIFICATE.
_REFUSED_CERTIFICATE = re.compile(
    r"ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|UNSUPPORTED_CERTIFICATE|ACCESS_DENIED|DECRYPT_ERROR)$"
)


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
    if isinstance(cause, ssl.SSLError) and "CERTIFICATE_REQUIRED" in (cause.reason or ""):
        return "TLS: it asks for a certificate of ours"
    if isinstance(cause, ssl.SSLError) and (alert := _REFUSED_CERTIFICATE.search(cause.reason or "")):
        return f"TLS: it does not accept our certificate ({alert[1].replace('_', ' ').lower()})"
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


def refuses_version(error: BaseException) -> bool:
    """Whether the broker says that it does not speak the version of MQTT."""
    return isinstance(error, MqttConnectError) and _code(error) in _VERSION


def closed_unasked(error: BaseException) -> bool:
    """Whether the broker closed the link without a word, as some do to a version that they do not know."""
    return isinstance(_cause(error), ConnectionResetError)


def left_unanswered(error: BaseException) -> bool:
    """Whether the broker took the link and never answered, as amqtt does to a version that it does not know."""
    return str(error) == "Operation timed out"


def is_configuration(error: BaseException) -> bool:
    """Whether trying again will hardly help until someone changes a setting: credentials, TLS."""
    refused = isinstance(error, MqttConnectError) and _code(error) not in (3, 136)
    return refused or isinstance(_cause(error), ssl.SSLError)


def _cause(error: BaseException) -> BaseException:
    # aiomqtt raises its own error "from None", which hides the system's but keeps it as the context.
    return (error.__cause__ or error.__context__ or error) if isinstance(error, aiomqtt.MqttError) else error


def _code(error: MqttConnectError) -> int:
    rc = error.rc
    return int(rc if isinstance(rc, int) else rc.value) if rc is not None else -1
