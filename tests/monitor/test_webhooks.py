"""The webhooks of a monitor: whom an alert is owed to, and that nobody goes short of one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.config import load_config
from monitor.errors import UsageError
from monitor.store.alert_log import AlertLog
from monitor.types import AlertEvent, Severity, StreamId
from monitor.webhook_section import WebhookSection
from monitor.webhooks import Webhooks
from tests.monitor.publish.http_receivers import CUT, HALF_A_HEAD, HANG, Receiver

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("VQWATCH_KILLS", "8"))


def raised(seq: int, rule: str = "lost", severity: Severity = Severity.MAJOR, stream: str = "cam") -> AlertEvent:
    return AlertEvent(f"{stream}-{seq}", seq, StreamId(stream), rule, severity, "raised", 1_800_000_000.0)


def section(name: str, url: str = "http://127.0.0.1:1/", **more: object) -> WebhookSection:
    return WebhookSection.model_validate({"name": name, "url": url} | more)


def test_an_alert_goes_to_those_whose_lists_both_have_it() -> None:
    hooks = Webhooks(
        [
            section("all"),
            section("rules", rules=["lost", "black"]),
            section("severities", severities=["critical", "major"]),
            section("both", rules="lost", severities="critical"),
        ],
        "n1",
        durable=False,
    )

    def names(rule: str, severity: Severity) -> list[str]:
        return [destination.removeprefix("webhook:") for destination in hooks.addressed(raised(1, rule, severity))]

    assert names("lost", Severity.CRITICAL) == ["all", "rules", "severities", "both"]
    assert names("lost", Severity.MINOR) == ["all", "rules"]
    assert names("quality", Severity.MAJOR) == ["all", "severities"]
    assert names("quality", Severity.INFO) == ["all"]


async def test_without_a_ledger_what_was_not_sent_is_said_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    hooks = Webhooks([section("ops")], "n1", durable=False)
    async with hooks.running():
        for seq in range(1, 4):
            hooks.offer("webhook:ops", raised(seq))
        await hooks.close(0.0)
    lost = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert lost == ["webhook=ops event=webhook_lost 3 alerts were never sent"]


async def test_what_a_webhook_was_owed_that_is_no_more_is_given_up_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with AlertLog(tmp_path, lambda event: True) as log:
        log.append(raised(1), ("webhook:old", "webhook:new"))
        log.append(raised(2), ("webhook:old",))
    hooks = Webhooks([section("new")], "n1", durable=True)
    async with AlertLog(tmp_path, lambda event: True, send_to=hooks.offer) as log:
        log.send_undelivered()
        for destination, event in hooks.gone({name: events.values() for name, events in log.standing.owed.items()}):
            log.delivered(event, destination)
    assert hooks.counts["new"].pending == 1
    assert "webhook=old event=webhook_removed 2 alerts" in caplog.text
    async with AlertLog(tmp_path, lambda event: True) as log:
        assert list(log.standing.owed) == ["webhook:new"]


@pytest.mark.timeout(max(60, 10 * KILLS))
async def test_kills_at_any_instant_lose_no_alert_that_was_recorded_for_any_webhook(tmp_path: Path) -> None:
    """VQWATCH_KILLS sets their number."""
    chance = random.Random(3)
    sound, ill = Receiver(), Receiver()
    # Each failure costs half a second.
    ill.plan.extend(chance.choice([*[200] * 9, 500, CUT, HALF_A_HEAD]) for _ in range(8 * KILLS))
    async with sound.listening(), ill.listening():
        command = ["-m", "tests.monitor.killed_webhooks", str(tmp_path), str(KILLS), sound.url, ill.url]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT)
        assert await process.wait() == 0
    with closing(sqlite3.connect(tmp_path / "vqwatch.db")) as db:
        recorded = db.execute("SELECT stream, seq, id, status FROM event ORDER BY position").fetchall()
        assert db.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    assert len(recorded) > 3 * KILLS
    for receiver in (sound, ill):
        for stream in ("a", "b", "c"):
            # What comes again comes under the same id, and nothing of a stream overtakes what was before it.
            mine = [request for request in receiver.taken if json.loads(request.body)["stream"] == stream]
            first = list(dict.fromkeys((json.loads(r.body)["seq"], r.delivery) for r in mine))
            assert first == [(seq, f"{id_}:{status}") for name, seq, id_, status in recorded if name == stream]


async def test_a_hung_webhook_keeps_the_others_alerts_and_the_ledgers_acknowledgements_going(tmp_path: Path) -> None:
    hung, sound = Receiver(), Receiver()
    hung.plan.extend([HANG] * 10)
    log: AlertLog

    def settled(event: AlertEvent, destination: str) -> None:
        log.delivered(event, destination)

    async with hung.listening(), sound.listening():
        hooks = Webhooks(
            [section("hung", hung.url, timeout="50s"), section("sound", sound.url)],
            "n1",
            durable=True,
            on_settled=settled,
        )
        mqtt: list[AlertEvent] = []
        async with (
            AlertLog(tmp_path, lambda event: not mqtt.append(event), send_to=hooks.offer) as log,
            hooks.running(),
        ):
            for seq in range(1, 31):
                event = raised(seq)
                log.append(event, hooks.addressed(event))
            await sound.until(30)
            assert len(mqtt) == 30
            assert len(hung.asked) == 1
            await hooks.close(0.1)
    async with AlertLog(tmp_path, lambda event: True) as log:
        assert [key.seq for key in log.standing.owed["webhook:hung"]] == list(range(1, 31))
        assert "webhook:sound" not in log.standing.owed


CONFIG = """
webhooks:
  - name: ops
    url: https://op:cAnArY7@hooks.example/cAnArY7
    secret: cAnArY7
    headers: {X-Key: "cAnArY7"}
streams: [{id: cam, url: "udp://127.0.0.1:5000", alerts: {own: {metric: score, raise: 10}}}]
"""


def test_no_credential_is_in_the_repr_of_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    config = load_config(file)
    assert config.webhooks[0].url.get_secret_value().endswith("/cAnArY7")
    assert "cAnArY7" not in repr(config) + str(config) + config.model_dump_json()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    secret:", "    sekret:", r"config.yaml:5: webhooks.0.sekret: unknown key"),
        ("https://op", "ftp://op", r"config.yaml:4: webhooks.0.url: not an address: write http://"),
        ("secret: cAnArY7", 'secret: ""', r"config.yaml:5: webhooks.0.secret: an empty key"),
        ("X-Key: ", "Content-Length: ", r"config.yaml:6: webhooks.0.headers.Content-Length.*is set by vqwatch"),
        ("X-Key: ", "x-vqwatch-delivery: ", r"config.yaml:6: webhooks.0.headers.*is set by vqwatch"),
        ("X-Key: ", '"X Key": ', r"config.yaml:6: webhooks.0.headers.*not the name of a header"),
        ('X-Key: "cAnArY7"', 'X-Key: "cAnArY7\\r\\nHost: b"', r"config.yaml:6: webhooks.0.headers.X-Key: .*one line"),
        ("X-Key: ", "authorization: ", r"config.yaml:3: webhooks.0: url and headers both hold credentials"),
        ("secret: cAnArY7", "severities: []", r"config.yaml:5: webhooks.0.severities: an empty list"),
        ("secret: cAnArY7", "severities: [loud]", r"config.yaml:5: webhooks.0.severities.0: "),
        (
            "secret: cAnArY7",
            "rules: [own, lost, owm]",
            r"config.yaml:5: webhooks.0.rules.2: unknown rule 'owm'; known: ",
        ),
        ("secret: cAnArY7", "template: teams", r"config.yaml:5: webhooks.0.template: "),
        ("secret: cAnArY7", "timeout: 0s", r"config.yaml:5: webhooks.0.timeout: "),
        ("streams:", "  - {name: ops, url: 'http://a'}\nstreams:", r"two webhooks are called 'ops'"),
    ],
)
def test_mistakes_are_told_with_file_line_and_key_and_without_the_secret(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    file = tmp_path / "config.yaml"
    assert old in CONFIG
    file.write_text(CONFIG.replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as caught:
        load_config(file)
    assert "cAnArY7" not in str(caught.value)


def test_commands_that_call_nobody_need_no_secret_of_a_webhook(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.replace("cAnArY7", "${NOT_SET_ANYWHERE}"))
    assert load_config(file, secrets=False).webhooks == ()
    with pytest.raises(UsageError, match=r"config.yaml:5: webhooks.0.secret: environment variable NOT_SET_ANYWHERE"):
        load_config(file)


def test_a_clear_is_addressed_like_its_raise() -> None:
    hooks = Webhooks([section("ops", rules=["lost"])], "n1", durable=False)
    clear = replace(raised(1), seq=2, status="cleared", cleared_at=1_800_000_009.0)
    assert hooks.addressed(clear) == hooks.addressed(raised(1)) == ("webhook:ops",)
