"""``vqwatch demo``: a player spoils its own feeds on a script, a monitor watches them and says what happened."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from monitor.app import Monitor
from monitor.commands.model_arguments import add_model_arguments, open_model
from monitor.commands.run import add_service_arguments, service_flags, stop_on_signals, table_on
from monitor.commands.table import StatusTable
from monitor.config import make_config
from monitor.demo.feeds import DemoEvent, DemoFeed, DemoFeeds
from monitor.demo.script import expected
from monitor.demo.verdict import judge
from monitor.ingest.redact import redact
from monitor.observe.logs import set_up_logging
from monitor.types import AlertEvent

#: A demo has no patience: shorter times than the default rules', the same levels.
_RULES = {
    "lost": {"raise_for": 1.0, "clear_for": 3.0},
    "black": {"raise": 5.0, "clear_for": 3.0},
    "frozen": {"raise": 5.0, "clear_for": 3.0},
    "quality": {"raise_for": 3.0, "clear_for": 6.0},
}
#: After the last fault's clear is due, --check waits no longer.
_MARGIN_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "--check", action="store_true", help="one round; exit 0 only if every fault was alerted rightly"
    )
    parser.add_argument(
        "--source", type=Path, action="append", default=[], metavar="FILE", help="play this file instead"
    )
    parser.add_argument("--script", type=Path, metavar="FILE", help="what to do to the feeds (YAML)")
    add_service_arguments(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs until stopped, for --duration, or (with --check) one round."""
    terminal = sys.stdout.isatty()
    set_up_logging(quiet=True, clean=redact)
    logging.getLogger("vqwatch.stream").setLevel(logging.ERROR)
    logging.getLogger("vqwatch.app").setLevel(logging.ERROR)
    return asyncio.run(_demo(args, terminal))


async def _demo(args: argparse.Namespace, terminal: bool) -> int:
    flags = service_flags(args)
    flags.setdefault("node", "demo")
    scoring, engine = open_model(args.model, args.engine, args.precision, args.threads, args.data_dir)
    alerts: list[AlertEvent] = []
    table = StatusTable(f"vqwatch demo  model {scoring.bundle.model_id}")
    say = table.note if terminal else _say
    say("preparing the feeds (their pictures are rendered once, then kept)")
    async with DemoFeeds(args.source, args.script) as player:
        config = make_config(
            {**flags, "alerts": _RULES, "streams": [{"id": feed.id, "url": feed.url} for feed in player.feeds]}
        )

        def on_alert(event: AlertEvent) -> None:
            alerts.append(event)
            if terminal:
                table.alert(event)
            else:
                _say_alert(event)

        monitor = Monitor(config, scoring, engine, on_state=table.state, on_alert=on_alert)
        stop_on_signals(monitor)
        say(_welcome(player.feeds))
        playing = asyncio.Event()
        listening = asyncio.create_task(_tell(player, monitor, say, playing, check=args.check), name="vqwatch.demo")
        announcing = asyncio.create_task(_announce(monitor, say), name="vqwatch.demo.ports")
        try:
            # Before its pictures are there a feed would only be called lost.
            await _either(playing, monitor)
            with table_on(terminal, table):
                await monitor.run(args.duration)
        finally:
            listening.cancel()
            announcing.cancel()
            await asyncio.gather(listening, announcing, return_exceptions=True)
    started_at = player.started_at
    if started_at is None:
        say("the feeds never started")
        return 1
    verdicts = judge(expected(player.script), started_at, alerts)
    over = time.time() - started_at
    due = [v for v in verdicts if args.check or v.expected.clear_by_s <= over]
    for verdict in due:
        print(verdict.line(), flush=True)
    if not args.check:
        return 0
    print(f"{sum(v.right for v in due)} of {len(due)} scripted faults alerted, rightly named and cleared", flush=True)
    return 0 if due and all(v.right for v in due) else 1


def _welcome(feeds: list[DemoFeed]) -> str:
    titles = ", ".join(f"{feed.id} ({feed.title})" for feed in feeds)
    return f"{len(feeds)} feeds over UDP: {titles}"


async def _either(playing: asyncio.Event, monitor: Monitor) -> None:
    """Waits until the feeds play, or the monitor was told to stop."""
    waits = [asyncio.create_task(playing.wait()), asyncio.create_task(monitor.stopping.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _announce(monitor: Monitor, say: Callable[[str], None]) -> None:
    await monitor.ready.wait()
    if monitor.http_port:
        say(f"dashboard: http://127.0.0.1:{monitor.http_port}/")
    if monitor.mqtt_port:
        say(f"MQTT: mosquitto_sub -p {monitor.mqtt_port} -t 'vqwatch/#' -v")


async def _tell(
    player: DemoFeeds, monitor: Monitor, say: Callable[[str], None], playing: asyncio.Event, *, check: bool
) -> None:
    """Says what the player does; with ``check`` ends the monitor after one round."""
    async for event in player.events():
        say(_what(event))
        if event.kind == "started":
            playing.set()
        if event.kind == "started" and check:
            last = max(e.clear_by_s for e in expected(player.script))
            asyncio.get_running_loop().call_later(event.at + last + _MARGIN_S - time.time(), monitor.stop)


def _what(event: DemoEvent) -> str:
    if event.impairment is None:
        return "all feeds play; the monitor learns what is normal for each"
    begins = "begins" if event.kind == "impairment_started" else "ends"
    return f"{event.feed}: {str(event.impairment).replace('_', ' ')} {begins}"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def _say_alert(event: AlertEvent) -> None:
    if event.status == "raised":
        because = f", cause {event.cause} {(event.cause_p or 0) * 100:.0f} %" if event.rule == "quality" else ""
        _say(f"  ALERT  {event.stream}: {event.rule} ({event.severity}{because})")
    else:
        lasted = (event.cleared_at or event.raised_at) - event.raised_at
        _say(f"  clear  {event.stream}: {event.rule} after {lasted:.0f} s")
