from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from monitor.config import Config, StreamSection, load_config, make_config, read_config
from monitor.config_checks import CHECKS
from monitor.core.alert_book import default_rules
from monitor.errors import UsageError
from monitor.rule_sections import ExpectSection, ProfileSection, RuleSection, ScheduleSection, parse_duration
from monitor.rules import rules_of
from monitor.webhook_section import WebhookSection

EXAMPLE = Path(__file__).resolve().parents[2] / "configs" / "example.yaml"


def write(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text)
    return file


def test_the_example_names_every_key_at_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_PASSWORD", "pa@ss")
    monkeypatch.setenv("SRT_PASSPHRASE", "pa@ss-phrase")
    monkeypatch.setenv("NOC_HOOK", "pa@ss-hook")
    monkeypatch.setenv("NOC_KEY", "pa@ss-key")
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://chat.example/pa@ss-chat")
    example = load_config(EXAMPLE)
    plain = Config()
    for section in ("model", "sampling", "engine", "broker", "http", "ingest", "history", "evidence"):
        assert getattr(example, section) == getattr(plain, section), section
        text = EXAMPLE.read_text()
        for key in type(getattr(plain, section)).model_fields:
            assert f"{key}:" in text, f"{section}.{key}"
    written = yaml.safe_load(EXAMPLE.read_text())
    models: list[tuple[type[BaseModel], list[dict[str, object]]]] = [
        (Config, [written]),
        (RuleSection, list(written["alerts"].values())),
        (ScheduleSection, list(written["schedules"].values())),
        (ProfileSection, list(written["profiles"].values())),
        (ExpectSection, [written["profiles"]["sport"]["expect"]]),
        (StreamSection, written["streams"]),
        (WebhookSection, written["webhooks"]),
    ]
    for model, sections in models:
        keys = {field.alias or name for name, field in model.model_fields.items()} - {"data_dir"}
        assert keys <= {key for section in sections for key in section}, model
    quality = {rule.name: rule for rule in rules_of(example).rules}["quality"]
    assert quality == {rule.name: rule for rule in default_rules()}["quality"]
    assert example.streams[1].url.get_secret_value() == "rtsp://operator:pa@ss@192.0.2.10/live"
    assert "pa@ss" not in repr(example)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10.0), ("500ms", 0.5), ("5m", 300.0), ("2h", 7200.0), ("1d", 86400.0), ("1.5", 1.5)]
)
def test_durations_carry_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_all_errors_come_at_once_with_file_line_and_key(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "node: n1\nengine:\n  precison: f32\n  max_batch: 0\ningest:\n  stall: 3 parsecs\nstreams:\n"
        "  - id: Cam 1\n    url: udp://x:1\n",
    )
    with pytest.raises(UsageError) as caught:
        load_config(file)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for line, (number, key) in zip(
        lines,
        [(3, "engine.precison"), (4, "engine.max_batch"), (6, "ingest.stall"), (8, "streams.0.id")],
        strict=False,
    ):
        assert any(entry.startswith(f"{file}:{number}: {key}") for entry in lines), (line, number, key)
    assert f"{file}:3: engine.precison: unknown key" in lines


def test_a_secret_value_is_not_repeated_in_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, "streams:\n  - id: a\n    url: [rtsp://u:canary@h/x]\n")
    with pytest.raises(UsageError) as caught:
        load_config(file)
    assert "canary" not in str(caught.value)


def test_an_unset_variable_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "streams:\n  - id: a\n    url: rtsp://u:${NOT_SET_ANYWHERE}@h/x\n")
    with pytest.raises(UsageError, match=r"config.yaml:3: streams.0.url: environment variable NOT_SET_ANYWHERE"):
        load_config(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("streams: [", "not YAML"),
        ("- a\n- b\n", "mapping"),
        ("streams:\n - {id: a, url: x}\n - {id: a, url: y}", "two"),
    ],
)
def test_a_file_that_is_no_configuration_says_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_config(tmp_path / "none.yaml")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "node: a\nbroker:\n  mqtt_port: 1\n  ws_port: 2\n")
    config = load_config(file, {"node": "b", "broker": {"mqtt_port": 3}})
    assert (config.node, config.broker.mqtt_port, config.broker.ws_port) == ("b", 3, 2)


def test_a_configuration_can_come_from_flags_alone() -> None:
    assert make_config({"streams": [{"id": "a", "url": "udp://h:1"}]}).streams[0].id == "a"


def test_the_keys_of_a_stream_become_options_of_its_source() -> None:
    section = StreamSection(id="a", url="rtsp://h/x", rtsp_transport="udp", tls_verify=False, options={"x": "1"})
    assert section.source_options() == {"rtsp_transport": "udp", "tls_verify": "0", "x": "1"}
    assert StreamSection(id="a", url="udp://h:1").source_options() == {}
    assert StreamSection(id="a", url="srt://h:1", tls_verify=False).source_options() == {}
    raw = StreamSection(id="a", url="rtsp://h/x", options={"rtsp_transport": "http"})
    assert raw.source_options() == {"rtsp_transport": "http"}


def test_a_video_is_chosen_in_one_way() -> None:
    keys = {"id": "a", "url": "udp://h:1", "video_pid": 257, "video_index": 0}
    with pytest.raises(UsageError, match="give one"):
        make_config({"streams": [keys]})


def test_options_are_in_no_repr() -> None:
    section = StreamSection(id="a", url="srt://h:1", options={"passphrase": "cAnArY7cAnArY7"})
    assert "cAnArY7" not in repr(Config(streams=(section,)))


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p@ss word\n")
    file = write(tmp_path, "streams:\n  - id: a\n    url: rtsp://u:${file:secret}@h/x\n")
    loaded = read_config(file)
    assert loaded.config.streams[0].url.get_secret_value() == "rtsp://u:p@ss word@h/x"
    assert loaded.files == (file, tmp_path / "secret")


def test_mistakes_of_all_kinds_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(70_000))
    file = write(
        tmp_path,
        "node: Node\nbroker: {url: 'mqtts://h', cert_file: /nowhere/x.pem, key_password: '${file:none}'}\n"
        "alerts:\n  quality: {raise: 3}\nwebhooks:\n  - {name: a, url: 'http://h', secret: '${file:large}'}\n"
        "streams:\n  - {id: a, url: 'gopher7://h', profile: none}\n  - {id: b, url: /nowhere/y.mp4}\n",
    )
    with pytest.raises(UsageError) as caught:
        read_config(file, checks=CHECKS)
    lines = str(caught.value).splitlines()
    for number, key, words in [
        (1, "node", "String should match pattern"),
        (2, "broker.key_password", "file none: No such file or directory"),
        (2, "broker.cert_file", "/nowhere/x.pem: No such file or directory"),
        (4, "alerts.quality.raise", "contradict each other"),
        (6, "webhooks.0.secret", "file large: larger than 64 KiB"),
        (8, "streams.0.profile", "unknown profile"),
        (8, "streams.0.url", "gopher7"),
        (9, "streams.1.url", "/nowhere/y.mp4: no such file"),
    ]:
        assert [line for line in lines if line.startswith(f"{file}:{number}: {key}: ") and words in line], (key, lines)
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{username: a}", "the embedded one has no use for it"),
        ("{url: 'mqtt://u:p@h', username: a}", "both hold credentials"),
        ("{url: 'mqtt://h', password: p}", "needs a username"),
        ("{url: 'mqtt://h', ca_file: x}", "write mqtts://"),
        ("{url: 'mqtts://h', key_file: x}", "needs its certificate"),
        ("{url: 'http://h'}", "expected mqtt://"),
    ],
)
def test_a_broker_is_entered_in_one_way(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_config(write(tmp_path, f"broker: {text}\n"))


def test_credentials_beside_the_url_are_those_of_the_link(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "broker: {url: 'mqtts://h:1', username: op, password: 'p@ss'}\n"))
    address = config.broker.address
    assert (address.host, address.port, address.tls, address.username, address.password) == ("h", 1, True, "op", "p@ss")
    assert "p@ss" not in repr(config) + repr(address)


@pytest.mark.parametrize(
    ("http", "accepts"),
    [
        ({}, True),
        ({"host": "localhost"}, True),
        ({"host": "::1"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"host": "monitor.example"}, False),
        ({"public_url": "https://monitor.example"}, False),
        ({"host": "0.0.0.0", "accept": True}, True),
        ({"accept": False}, False),
    ],
)
def test_levels_are_accepted_where_nobody_else_reaches_the_port_or_where_it_is_said(
    http: dict[str, Any], accepts: bool
) -> None:
    assert make_config({"http": http}).http.accepts is accepts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("broker: {password: *cAnArY7}", "1: not YAML: a value that begins with * or ! wants quotes"),
        ("broker: {password: !cAnArY7 x}", "1: not YAML: a value that begins with * or ! wants quotes"),
        ("broker: {password: %cAnArY7}", "1: not YAML: found character '%' that cannot start any token"),
        ("broker: {password: [cAnArY7]}", "1: broker.password: Input should be a valid string"),
        ("broker: {url: 'mqtt://op:cAnArY7@host:port'}", "1: broker.url: bad host or port"),
        ("broker: {url: 'mqtt://op:cAnArY7@host', password: cAnArY7}", "1: broker: url and username or password both"),
        ("webhooks: [{name: a, url: 'cAnArY7://h', secret: [cAnArY7]}]", "1: webhooks.0.url: not an address"),
        ("webhooks: [{name: a, url: 'http://h', headers: {Host: cAnArY7}}]", "Host is set by vqwatch itself"),
        ("streams: [{id: a, url: [cAnArY7]}]", "1: streams.0.url: Input should be a valid string"),
        (
            "streams: [{id: a, url: 'rtsp//op:cAnArY7@h/live'}]",
            "1: streams.0.url: ***@h/live: no such file (an address",
        ),
        (
            "streams: [{id: a, url: 'rtsp:/op:cAnArY7@h/live'}]",
            "1: streams.0.url: ***@h/live: no such file (an address",
        ),
        (
            "streams: [{id: a, url: 'rtsp://op:cAnArY7@h:99999/'}]",
            "1: streams.0.url: rtsp://***@h:99999/: host or port",
        ),
        ("streams: [{id: a, url: 'rtsps://op:cAnArY7@[::1/'}]", "1: streams.0.url: rtsps://***@[::1/: host or port"),
        (
            "streams: [{id: a, url: 'srt://h?passphrase=cAnArY7'}]",
            "1: streams.0.url: srt://h?passphrase=***: an SRT URL",
        ),
        ("streams: [{id: a, url: 'udp://h:1?token=cAnArY7', profile: b}]", "1: streams.0.profile: unknown profile 'b'"),
    ],
)
def test_what_is_wrong_with_a_secret_is_told_without_it(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(file, checks=CHECKS)
    assert f"{file}:1: " in str(caught.value)
    assert words in str(caught.value)
    assert "cAnArY7" not in str(caught.value)
