"""Arguments that say how a feed is opened and which of its videos is meant; the same words as in the configuration."""

from __future__ import annotations

import argparse
from typing import Any

#: Keys of a stream in the configuration, and the destinations of the arguments.
_KEYS = ("program", "video_pid", "video_index", "rtsp_transport", "tls_verify", "deinterlace")


def add_feed_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --program, --video-pid, --video-index, --rtsp-transport, --no-tls-verify and --deinterlace."""
    group = parser.add_argument_group("feed", "of every URL given here")
    group.add_argument("--program", type=_number, metavar="N", help="program number (default: the first with video)")
    video = group.add_mutually_exclusive_group()
    video.add_argument("--video-pid", type=_number, metavar="PID", help="PID of the video, 257 or 0x101")
    video.add_argument("--video-index", type=_number, metavar="I", help="which of the program's videos, from 0")
    group.add_argument(
        "--rtsp-transport", choices=("tcp", "udp", "udp_multicast", "http"), help="how RTSP is carried (default tcp)"
    )
    group.add_argument(
        "--no-tls-verify", dest="tls_verify", action="store_false", default=None, help="accept any certificate"
    )
    add_deinterlace(group)


def add_deinterlace(parser: argparse._ActionsContainer) -> None:
    """Adds --deinterlace."""
    parser.add_argument(
        "--deinterlace",
        choices=("auto", "always", "never"),
        help="make pictures of fields before scoring (default auto: those flagged as interlaced)",
    )


def feed_keys(args: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, as keys of a stream."""
    return {key: value for key in _KEYS if (value := getattr(args, key)) is not None}


def _number(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a number: {text!r}") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"less than 0: {text}")
    return value
