from __future__ import annotations

import pytest

from monitor.errors import UsageError
from monitor.publish.broker_address import BrokerAddress


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", BrokerAddress("broker", 1883)),
        ("mqtts://broker/", BrokerAddress("broker", 8883, tls=True)),
        ("mqtt://user:pass@h:11", BrokerAddress("h", 11, username="user", password="pass")),
        ("mqtt://u%40x:a%2Fb%3A%23@h", BrokerAddress("h", username="u@x", password="a/b:#")),
        ("mqtt://u@h", BrokerAddress("h", username="u")),
        ("mqtts://u:@[::1]:99", BrokerAddress("::1", 99, tls=True, username="u", password="")),
    ],
)
def test_urls_are_read_with_default_ports_and_decoded_credentials(url: str, expected: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker",
        "http://u:hunter2@h",
        "mqtt://",
        "mqtt://u:hunter2@",
        "mqtt://u:hunter2@h:port",
        "mqtt://u:hunter2@h:0",
        "mqtt://u:hunter2@h:65536",
        "mqtt://u:hunter2/x@h",
        "mqtt://u:hunter2@h/topic",
        "mqtt://u:hunter2@h?x=1",
        "mqtt://u:hunter2@[::1",
        "mqtt://:hunter2@h",
        "mqtt://u:hunter2@a b",
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(UsageError, match="broker URL") as caught:
        BrokerAddress.parse(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_neither_repr_nor_str_shows_credentials() -> None:
    address = BrokerAddress.parse("mqtts://admin:hunter2@[::1]:99")
    assert str(address) == "mqtts://[::1]:99"
    assert "hunter2" not in repr(address)
    assert "admin" not in repr(address)
