"""Seeds on a command line."""

from __future__ import annotations

import argparse


def parse_seeds(text: str) -> list[int]:
    """``0-4`` or ``1,5,9`` as integers; an argparse type."""
    first, dash, last = text.partition("-")
    try:
        found = list(range(int(first), int(last) + 1)) if dash else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0-4 or 1,5,9") from error
    if not found or len(set(found)) != len(found):
        raise argparse.ArgumentTypeError(f"{text!r} names no seed, or one twice")
    return found
