"""``vqwatch check``: is this configuration right? All that is wrong at once, with file, line and key."""

from __future__ import annotations

import argparse
from pathlib import Path

from monitor.config import read_config
from monitor.config_checks import CHECKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")


def run(args: argparse.Namespace) -> int:
    """Prints ``ok``, or raises with every problem."""
    config = read_config(args.config, checks=CHECKS).config
    print(f"{args.config}: ok, {len(config.streams)} streams")
    return 0
