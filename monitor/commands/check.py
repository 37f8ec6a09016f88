"""``vqwatch check``: is this configuration right? All that is wrong at once, with file, line and key."""

from __future__ import annotations

import argparse
from pathlib import Path

from monitor.app import missing_files
from monitor.commands.run import check_address
from monitor.config import load_config
from monitor.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Prints ``ok``, or raises with every problem."""
    config = load_config(args.config)
    problems = [f"{args.config}: {file}: no such file" for file in missing_files(config)]
    for section in config.streams:
        try:
            check_address(section)
        except UsageError as error:
            problems.append(f"{args.config}: streams: {section.id}: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    print(f"{args.config}: ok, {len(config.streams)} streams")
    return 0
