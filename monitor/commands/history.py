"""``vqwatch history``: what was recorded, for other programs."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from monitor.commands.history_arguments import add_history_arguments, chosen, open_history, span_of
from monitor.config import load_config
from monitor.core.record_text import COLUMNS, texts_of
from monitor.store.history_file import Kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="recorded seconds or minutes as CSV on stdout, stream after stream")
    add_history_arguments(export)
    export.add_argument(
        "--resolution", choices=("1s", "1m"), default="1s", help="seconds (default), or minutes, kept for longer"
    )
    export.add_argument("--json", action="store_true", help="one JSON object a line; unknown values are left out")
    export.add_argument("--data-dir", type=Path, metavar="DIR", help="where `run` kept it")
    export.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration that names the directory")


def run(args: argparse.Namespace) -> int:
    """Writes the rows."""
    folder = args.data_dir
    if folder is None and args.config is not None:
        folder = load_config(args.config, secrets=False).data_dir
    kind = Kind.MINUTES if args.resolution == "1m" else Kind.SECONDS
    span = span_of(args)
    with open_history(folder) as history:
        streams = chosen(args.stream, history.streams, history.path)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        if not args.json:
            writer.writerow(COLUMNS)
        for stream in streams:
            for record in history.records(kind, stream, span.from_ms, span.to_ms):
                texts = texts_of(stream, record)
                if args.json:
                    print(json.dumps({name: value for name, value in texts.items() if value is not None}))
                else:
                    writer.writerow(["" if value is None else value for value in texts.values()])
    sys.stdout.flush()
    return 0
