"""Prometheus and Grafana of docker-compose.yml: their files, and what they ask of a live vqwatch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
PROMTOOL = shutil.which("promtool")
RULES = yaml.safe_load((DOCKER / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
BOARD = json.loads((DOCKER / "grafana" / "boards" / "vqwatch.json").read_text())
#: Values that take the place of the board's variables.
_VARIABLES = {"$instance": ".*", "$stream": ".*", "$__range": "30m"}


def queries() -> list[str]:
    found = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    for name, value in _VARIABLES.items():
        found = [query.replace(name, value) for query in found]
    return found


def test_the_rules_are_those_of_the_documentation_with_words_and_severities() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    blocks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    documented = next(block["groups"][0]["rules"] for block in blocks if "groups" in block)
    plain = [{key: rule[key] for key in ("alert", "expr", "for") if key in rule} for rule in RULES]
    assert plain == documented
    for rule in RULES:
        assert rule["annotations"]["summary"], rule["alert"]
        severity = rule["labels"]["severity"]
        assert severity in ("critical", "major", "minor", "warning", "info", "{{ $labels.severity }}")


def test_prometheus_takes_its_rules_its_configuration_and_the_queries_of_the_board(tmp_path: Path) -> None:
    if PROMTOOL is None:
        pytest.skip("needs promtool (Debian package prometheus), which is not installed")
    # Queries are checked as rules are: as expressions of records.
    records = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(queries())]
    board = tmp_path / "board.yml"
    board.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": records}]}))
    checks = [
        ["config", str(DOCKER / "prometheus" / "prometheus.yml")],
        ["rules", str(DOCKER / "prometheus" / "rules.yml")],
        ["rules", str(board)],
    ]
    for check in checks:
        done = subprocess.run([PROMTOOL, "check", *check], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_stream_that_is_lost_raises_its_alert_and_a_healthy_one_raises_none(tmp_path: Path) -> None:
    if PROMTOOL is None:
        pytest.skip("needs promtool (Debian package prometheus), which is not installed")
    labels = 'instance="m:8080",job="vqwatch",stream'
    series = {
        'up{job="vqwatch",instance="m:8080"}': "1x60",
        f'vqwatch_stream_up{{{labels}="a"}}': "1x60",
        f'vqwatch_stream_up{{{labels}="b"}}': "1x10 0x50",
        f'vqwatch_stream_state{{{labels}="a",state="lost"}}': "0x60",
        f'vqwatch_stream_state{{{labels}="b",state="lost"}}': "0x10 1x50",
        f'vqwatch_stream_score_drop{{{labels}="a"}}': "2x60",
        'vqwatch_mqtt_connected{instance="m:8080",job="vqwatch"}': "1x60",
        'vqwatch_webhook_dropped_total{instance="m:8080",job="vqwatch",webhook="noc",kind="refused"}': "0x60",
    }
    lost = {"severity": "critical", "instance": "m:8080", "job": "vqwatch", "stream": "b", "state": "lost"}
    expected = {"StreamLost": [{"exp_labels": lost, "exp_annotations": {"summary": "b: lost"}}]}
    quiet = ("MonitorGone", "QualityDrop", "BrokerUnreachable", "WebhookRefusesAlerts")
    content = {
        "rule_files": [str(DOCKER / "prometheus" / "rules.yml")],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": [
                    {"eval_time": "3m", "alertname": name, "exp_alerts": expected.get(name, [])}
                    for name in (*expected, *quiet)
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(content))
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_is_one_that_its_provisioning_finds() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounts = {
        mount.split(":")[1]: ROOT / mount.split(":")[0] for mount in compose["grafana"]["volumes"] if "./" in mount
    }
    provisioning = mounts["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "vqwatch.yaml").read_text())["providers"]
    assert (mounts[provider["options"]["path"]] / "vqwatch.json").is_file()
    home = Path(compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (mounts[str(home.parent)] / home.name).is_file()
    uids = set(re.findall(r'"datasource": {\s*"type": "prometheus",\s*"uid": "(\w+)"', json.dumps(BOARD, indent=1)))
    assert uids == {source["uid"]}
    scraped = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scraped["static_configs"] == [{"targets": ["vqwatch:8080"]}]
    assert source["url"] == "http://prometheus:9090"


def test_panels_lie_side_by_side_and_have_names_of_their_own() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own
    assert (
        len({panel["id"] for panel in BOARD["panels"]})
        == len({p["title"] for p in BOARD["panels"]})
        == len(BOARD["panels"])
    )
