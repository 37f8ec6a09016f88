"""``vqwatch config``: what helps to write a configuration."""

from __future__ import annotations

import argparse

from monitor.config_schema import schema_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("schema", help="the JSON Schema of the configuration, for editors")


def run(args: argparse.Namespace) -> int:
    """Prints the schema."""
    print(schema_text(), end="")
    return 0
