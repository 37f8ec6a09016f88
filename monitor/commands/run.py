"""``vqwatch run``: monitors live feeds until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from monitor.app import ConfigSource, Monitor, stream_ids
from monitor.commands.feed_arguments import add_feed_arguments, feed_keys
from monitor.commands.model_arguments import open_model
from monitor.commands.table import StatusTable
from monitor.config import Config, make_config, read_config
from monitor.config_checks import CHECKS
from monitor.errors import UsageError
from monitor.ingest.redact import redact
from monitor.observe.logs import set_up_logging
from monitor.rule_sections import parse_duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("urls", nargs="*", metavar="URL", help="feeds, or files replayed as if live")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration (configs/example.yaml)")
    parser.add_argument("--id", action="append", default=[], metavar="ID", help="name of a feed; once for each URL")
    add_service_arguments(parser)
    parser.add_argument("--model", metavar="NAME|DIR", help="bundle that scores")
    parser.add_argument("--engine", choices=("openvino", "tensorrt", "torch"))
    parser.add_argument("--precision", choices=("auto", "f32", "bf16", "f16", "int8"))
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of inference (default: all)")
    parser.add_argument(
        "--readers", choices=("processes", "threads"), help="what reads and decodes each feed (processes)"
    )
    parser.add_argument("--loop", action="store_true", help="start files over at their end")
    add_feed_arguments(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")
    parser.add_argument("--log-json", action="store_true", help="log lines as JSON")


def add_service_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that ``run`` and ``demo`` share."""
    parser.add_argument("--node", metavar="NAME", help="name of this monitor in topics")
    parser.add_argument("--broker", metavar="URL", help="embedded | mqtt://[user:pass@]host[:port] | mqtts://...")
    parser.add_argument("--mqtt-port", type=int, metavar="N", help="TCP port of the embedded broker (1883)")
    parser.add_argument("--ws-port", type=int, metavar="N", help="WebSocket port of the embedded broker (9001)")
    parser.add_argument("--http-port", type=int, metavar="N", help="port of the dashboard (8080)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where files are kept: the alert ledger, models")
    parser.add_argument("--duration", type=_seconds, metavar="TIME", help="stop after this long (90, 90s, 5m)")


def _seconds(text: str) -> float:
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    assert isinstance(value, float)
    return value


def run(args: argparse.Namespace) -> int:
    """Runs until SIGTERM, SIGINT, the end of --duration, or the end of every file."""
    flags = configuration_flags(args)
    if args.config is None:
        config, source = make_config(flags, checks=CHECKS), None
    else:
        load = partial(read_config, args.config, flags, checks=CHECKS)
        loaded = load()
        config, source = loaded.config, ConfigSource(load, loaded.files)
    return asyncio.run(serve(config, args.duration, source=source, verbose=args.verbose, log_json=args.log_json))


def configuration_flags(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags say, as nested configuration; it wins over the file."""
    flags = service_flags(args)
    if args.urls:
        ids = stream_ids(args.urls, args.id)
        keys = {"loop": args.loop, **feed_keys(args)}
        flags["streams"] = [{"id": id_, "url": url, **keys} for id_, url in zip(ids, args.urls, strict=True)]
    elif args.id:
        raise UsageError("--id names a URL on the command line; there is none")
    elif keys := feed_keys(args):
        raise UsageError(f"{', '.join(keys)}: of a URL on the command line; there is none")
    for key in ("name", "precision", "threads"):
        value = getattr(args, "engine" if key == "name" else key)
        if value is not None:
            flags.setdefault("engine", {})[key] = value
    if args.model:
        flags["model"] = {"bundle": args.model}
    if args.readers:
        flags["ingest"] = {"readers": args.readers}
    return flags


def service_flags(args: argparse.Namespace) -> dict[str, Any]:
    """The shared options as nested configuration; only what was given."""
    flags: dict[str, Any] = {}
    broker = {"url": args.broker, "mqtt_port": args.mqtt_port, "ws_port": args.ws_port}
    for section, values in (("broker", broker), ("http", {"port": args.http_port})):
        given = {key: value for key, value in values.items() if value is not None}
        if given:
            flags[section] = given
    if args.node:
        flags["node"] = args.node
    if args.data_dir:
        flags["data_dir"] = args.data_dir
    return flags


async def serve(
    config: Config,
    duration_s: float | None,
    *,
    source: ConfigSource | None = None,
    verbose: bool = False,
    log_json: bool = False,
) -> int:
    """Runs a monitor with signals and, on a terminal, the table."""
    terminal = sys.stdout.isatty()
    # The table and log lines would fight over the terminal: lines stay where stderr goes elsewhere.
    set_up_logging(verbose=verbose, quiet=terminal and sys.stderr.isatty(), as_json=log_json, clean=redact)
    scoring, engine = open_model(
        config.model.bundle,
        config.engine.name,
        config.engine.precision,
        config.engine.threads,
        config.data_dir,
        config.sampling.fps,
    )
    table = StatusTable(f"vqwatch  node {config.node}  model {scoring.bundle.model_id}")
    try:
        monitor = Monitor(
            config,
            scoring,
            engine,
            on_state=table.state,
            on_alert=table.alert if terminal else None,
            on_removed=table.forget,
            source=source,
        )
    except BaseException:
        engine.close()
        raise
    stop_on_signals(monitor)
    with table_on(terminal, table):
        await monitor.run(duration_s)
    return 0


def stop_on_signals(monitor: Monitor) -> None:
    """SIGTERM and SIGINT end the monitor in order; SIGHUP has it read its configuration file again."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, monitor.stop)
    # Without a configuration file there is nothing to read again, and a terminal that hangs up ends the monitor.
    if monitor.reloads:
        loop.add_signal_handler(signal.SIGHUP, monitor.reload)


def table_on(terminal: bool, table: StatusTable) -> contextlib.AbstractContextManager[object]:
    """The live table where stdout is a terminal."""
    if not terminal:
        return contextlib.nullcontext()
    return Live(table, console=Console(), refresh_per_second=2, transient=False)
