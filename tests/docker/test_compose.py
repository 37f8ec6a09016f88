"""What can be held to the container files without a container engine."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import yaml

from monitor.config import load_config
from monitor.demo.player import _arguments as player_arguments
from monitor.ingest.address import parse_address
from monitor.publish.broker_address import BrokerAddress
from monitor.types import Problem
from monitor.web.server import DashboardServer

ROOT = Path(__file__).resolve().parents[2]
#: Services that keep something, in a volume of their own.
KEEPING = {"vqwatch": "data", "prometheus": "prometheus", "grafana": "grafana"}
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


@pytest.fixture(params=["mosquitto", "vqwatch", "prometheus", "grafana", "mediamtx", "player"])
def service(request: pytest.FixtureRequest, compose: dict[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = compose["services"][request.param]
    return chosen


def default_of(text: str) -> str:
    """What compose makes of ``${NAME:-default}`` where NAME is not set."""
    match = re.fullmatch(r"\$\{\w+:-(.*)\}", text)
    assert match is not None, text
    return match[1]


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(name).strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_each_service_runs_without_rights_it_does_not_need(service: dict[str, Any]) -> None:
    uid = str(service["user"]).partition(":")[0]
    assert int(uid) > 0
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["tmpfs"]


def test_each_service_says_how_it_is_and_comes_back(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()
    assert service["restart"] == "unless-stopped"


def test_the_monitor_waits_for_a_broker_that_answers(compose: dict[str, Any]) -> None:
    assert compose["services"]["vqwatch"]["depends_on"] == {"mosquitto": {"condition": "service_healthy"}}


def test_ports_are_published_on_loopback_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    published = [port.split(":")[1] for port in ports]
    assert sorted(published) == ["1883", "3000", "8080", "8554", "9001", "9090"]
    assert ports == [f"127.0.0.1:{port}:{port}" for port in published]


def test_files_that_are_mounted_exist_and_are_mounted_read_only(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert len(files) == 7
    for mount in files:
        source, _, mode = mount.split(":")
        assert (ROOT / source).exists(), source
        assert mode == "ro"
    names = {mount.partition(":")[0] for mount in mounts} - {mount.partition(":")[0] for mount in files}
    assert names == set(compose["volumes"]) == set(KEEPING.values())


def test_services_and_keys_are_ones_that_compose_knows(compose: dict[str, Any]) -> None:
    # The part of the Compose Specification that is used here; a misspelt key would be refused, or worse, passed over.
    known = {
        "build", "cap_drop", "command", "depends_on", "deploy", "entrypoint", "environment", "healthcheck", "image",
        "init", "logging", "mem_limit", "network_mode", "pids_limit", "ports", "profiles", "read_only", "restart",
        "security_opt", "stop_grace_period", "tmpfs", "user", "volumes",
    }  # fmt: skip
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        assert service.keys() <= known, name
        assert service.keys() & {"image", "build"}, name
        tag = service["image"].partition(":")[2]
        assert tag != "latest", name
        assert tag or "build" in service, name
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in compose["services"][other]
            # What always runs must not wait for what runs on demand.
            assert "profiles" not in compose["services"][other] or service["profiles"] == ["demo"]
        assert all(isinstance(part, str) for part in service["healthcheck"]["test"]), name


def test_the_demo_profile_plays_a_feed_where_it_says(compose: dict[str, Any]) -> None:
    player, server = compose["services"]["player"], compose["services"]["mediamtx"]
    assert player["network_mode"] == "service:mediamtx"
    settings = yaml.safe_load((ROOT / "docker" / "mediamtx.yml").read_text())
    ((path, source),) = settings["paths"].items()
    options = player_arguments().parse_args(player["command"])
    assert source == {"source": f"udp+mpegts://127.0.0.1:{options.port[0]}"}
    assert options.scene == [path]
    (port,) = (port.split(":")[2] for port in server["ports"])
    text = (ROOT / "docker-compose.yml").read_text()
    assert f"VQWATCH_FEED=rtsp://mediamtx:{port}/{path} docker compose --profile demo up" in text
    parse_address(f"rtsp://mediamtx:{port}/{path}", live=True, read_timeout_s=1.0, options={})


def test_the_gpu_override_changes_the_monitor_alone_and_its_image_is_the_same_but_for_its_libraries(
    compose: dict[str, Any],
) -> None:
    override = yaml.safe_load((ROOT / "docker" / "compose.nvidia.yml").read_text())
    assert override["services"].keys() == {"vqwatch"}
    service = override["services"]["vqwatch"]
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    gpu = (ROOT / service["build"]["dockerfile"]).read_text()
    ours, theirs = (
        [line for line in text.splitlines() if not line.startswith(("#", "ENV")) and "pip" not in line]
        for text in (DOCKERFILE, gpu)
    )
    assert ours == theirs
    assert "[gpu]" in gpu
    assert "gpu" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_mounted_configuration_is_the_one_the_image_reads(compose: dict[str, Any]) -> None:
    command = json.loads(instructions("CMD")[-1])
    assert command[:2] == ["run", "-c"]
    targets = [mount.split(":")[1] for mount in compose["services"]["vqwatch"]["volumes"]]
    assert command[2] in targets


def test_configuration_loads_and_agrees_with_compose(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    feed = default_of(compose["services"]["vqwatch"]["environment"]["VQWATCH_FEED"])
    monkeypatch.setenv("VQWATCH_FEED", feed)
    config = load_config(ROOT / "configs" / "docker.yaml")
    broker = BrokerAddress.parse(config.broker.url.get_secret_value())
    assert broker.host in compose["services"]
    assert (broker.port, config.broker.ws_port, config.http.port) == (1883, 9001, 8080)
    assert config.http.host == "0.0.0.0"
    assert [stream.url.get_secret_value() for stream in config.streams] == [feed]
    parse_address(feed, live=True, read_timeout_s=1.0, options={})
    targets = [mount.split(":")[1] for mount in compose["services"]["vqwatch"]["volumes"]]
    assert str(config.data_dir) in targets


def test_image_runs_as_the_user_that_compose_names(compose: dict[str, Any]) -> None:
    (user,) = instructions("USER")
    assert user == compose["services"]["vqwatch"]["user"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["vqwatch"]
    # A numeric user at the end: what follows in the file must not run as root.
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.rindex("\nRUN ")


def test_everything_the_image_copies_is_in_its_build_context() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for line in instructions("COPY"):
        if line.startswith("--from"):
            continue
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            kept = True
            for rule in rules:
                if fnmatch.fnmatchcase(source, rule.removeprefix("!")):
                    kept = rule.startswith("!")
            assert kept, source


def health_checks(compose: dict[str, Any]) -> list[list[str]]:
    in_image = json.loads(re.findall(r"CMD (\[.*\])", instructions("HEALTHCHECK")[0])[0])
    return [in_image, compose["services"]["vqwatch"]["healthcheck"]["test"][1:]]


async def test_health_checks_tell_a_live_monitor_from_a_dead_one(compose: dict[str, Any]) -> None:
    problems: list[Problem] = []

    async def run(check: list[str]) -> int:
        program, *arguments = [text.replace("8080", str(server.port)) for text in check]
        assert program == "python"
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=subprocess.DEVNULL)
        return await process.wait()

    in_image, in_compose = health_checks(compose)
    assert in_image == in_compose
    async with DashboardServer(port=0, node="n", websocket=9001, livez=lambda: problems) as server:
        assert await run(in_image) == 0
        problems.append(Problem("loop", "stuck", "the loop is stuck"))
        assert await run(in_image) == 1
    assert await run(in_image) == 1


@pytest.mark.servers
async def test_the_broker_takes_its_configuration_and_serves_both_protocols(tmp_path: Path) -> None:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (Debian package mosquitto), which is not installed")
    ports = {"1883": free_port(), "9001": free_port()}
    settings = (ROOT / "docker" / "mosquitto.conf").read_text()
    for wanted, port in ports.items():
        settings, count = re.subn(rf"^listener {wanted}$", f"listener {port} 127.0.0.1", settings, flags=re.MULTILINE)
        assert count == 1
    (tmp_path / "mosquitto.conf").write_text(settings)
    process = await asyncio.create_subprocess_exec(
        MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf"), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        started = b""
        async with asyncio.timeout(10):
            while b" running" not in started:
                line = await process.stderr.readline()
                assert line, started.decode()
                started += line
        assert b"Error" not in started
        assert b"Warning" not in started
        async with (
            aiomqtt.Client("127.0.0.1", ports["9001"], transport="websockets", websocket_path="/") as page,
            aiomqtt.Client("127.0.0.1", ports["1883"]) as monitor,
            asyncio.timeout(10),
        ):
            await page.subscribe("vqwatch/#")
            await monitor.publish("vqwatch/n/status", "online", qos=1, retain=True)
            message = await anext(page.messages)
            assert message.payload == b"online"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
