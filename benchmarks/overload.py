"""Twice the feeds that a machine holds. ``python -m benchmarks.overload --streams 3``.

The monitor, as it comes out of the box, is given twice as many feeds as ``--streams``, which should be what ``vqwatch
bench`` says this machine holds. At first half of them send. Then all do: how soon does it say that it sheds load, how
evenly, and how old do scores grow? At last the second half falls silent: when has the first its full rate back?

Feeds are those of ``benchmarks.live``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live import ROOT, Seen, free_ports, listen, senders, silence
from monitor.pipeline.capacity import make_clip

_NODE = "bench"
#: After the first scores, until all is expected to be steady, and after the change, until it is again.
_SETTLE_S = 8.0
_ADAPT_S = 20.0
_DECLARE_S = 30.0
_RECOVERY_S = 300.0


@dataclass(frozen=True)
class Found:
    """What was seen; times are seconds.

    Attributes:
        feeds: Before and during overload.
        sheds_before: Whether half of the feeds were too many already.
        declared_s: From the first sample of a further feed to the first message that says so.
        rate: Samples a second that the monitor settled on, of each stream.
        unfairness: Of the samples scored, the most of a stream less the least, over the mean.
        age_p99_ms: Of scores under overload, once it has adapted.
        age_worst_ms: And before that.
        stale: States under overload that had no score, or said that the stream is unknown.
        damaged: Largest share of damaged pictures that a stream was charged with under overload.
        recovered_s: Until half of the feeds had their full rate back, after the others had stopped; None: not in time.
    """

    feeds: tuple[int, int]
    sheds_before: bool
    declared_s: float | None
    rate: float
    unfairness: float
    age_p99_ms: float
    age_worst_ms: float
    stale: int
    damaged: float
    recovered_s: float | None


async def until(condition: Callable[[], bool], limit_s: float) -> float | None:
    """Seconds until it holds; None where it does not in time."""
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > limit_s:
            return None
        await asyncio.sleep(0.02)
    return time.monotonic() - began_s


async def measure(clip: Path, count: int, seconds: float) -> Found:
    """Runs the three phases."""
    ports = free_ports(2 * count, socket.SOCK_DGRAM)
    (mqtt,) = free_ports(1, socket.SOCK_STREAM)
    names = [f"s{i:02}" for i in range(2 * count)]
    first = names[:count]
    seen, connected = Seen(), asyncio.Event()
    listening = asyncio.create_task(listen(mqtt, seen, connected))

    def newest(name: str) -> dict[str, Any]:
        return seen.states[name][-1] if seen.states[name] else {}

    def full(names: Sequence[str]) -> bool:
        return all(newest(name).get("sample_fps", 0) >= full_fps for name in names)

    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        log = (Path(folder) / "log").open("w+")
        running.callback(log.close)
        sending = senders(clip, ports[:count])
        running.callback(silence, sending)
        command = [
            sys.executable, "-m", "monitor", "run", *(f"udp://127.0.0.1:{port}" for port in ports),
            *(a for name in names for a in ("--id", name)), "--node", _NODE, "--mqtt-port", str(mqtt),
            "--ws-port", "0", "--http-port", "0", "--data-dir", folder,
        ]  # fmt: skip
        monitor = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        running.callback(monitor.wait, 30)
        running.callback(monitor.terminate)
        running.callback(listening.cancel)
        if await until(lambda: all("score" in newest(name) for name in first), 120) is None:
            log.seek(0)
            raise SystemExit(f"no scores: {log.read()[-2000:]}")
        await asyncio.sleep(_SETTLE_S)
        full_fps = max(newest(name)["sample_fps"] for name in first)
        sheds_before = not full(first)

        seen.clear()
        more = senders(clip, ports[count:])
        running.callback(silence, more)
        began_s = await until(lambda: any(newest(name).get("samples") for name in names[count:]), _DECLARE_S)
        declared_s = await until(
            lambda: (
                not full([n for n in names if newest(n).get("sample_fps")])
                or any(health.get("shed") for health in seen.health)
            ),
            30,
        )
        await asyncio.sleep(_ADAPT_S)
        adapting = [state for name in first for state in seen.states[name]]
        seen.clear()
        await asyncio.sleep(seconds)
        steady = {name: seen.states[name] for name in names}

        silence(more)
        seen.clear()
        recovered_s = await until(lambda: all(seen.states[name] for name in first) and full(first), _RECOVERY_S)
    states = [state for of_one in steady.values() for state in of_one]
    scored = [
        (of_one[-1]["samples"] - of_one[0]["samples"]) / (of_one[-1]["ts"] - of_one[0]["ts"]) * 1000
        for of_one in steady.values()
    ]
    assert began_s is not None
    return Found(
        feeds=(count, 2 * count),
        sheds_before=sheds_before,
        declared_s=declared_s,
        rate=float(np.mean(scored)),
        unfairness=(max(scored) - min(scored)) / float(np.mean(scored)),
        age_p99_ms=float(np.quantile([state["age_ms"] for state in states if "age_ms" in state], 0.99)),
        age_worst_ms=float(max(state["age_ms"] for state in adapting if "age_ms" in state)),
        stale=sum("score" not in state or state["status"] == "unknown" for state in states),
        damaged=max(state.get("corrupt", 0.0) for state in states),
        recovered_s=recovered_s,
    )


def table(found: Found, size: str) -> str:
    """What was found, as Markdown."""

    def seconds(value: float | None) -> str:
        return "not in time" if value is None else f"{value:.1f} s"

    rows = [
        ("shedding with half of the feeds", "yes" if found.sheds_before else "no"),
        ("declared after", seconds(found.declared_s)),
        ("samples a second, of each stream", f"{found.rate:.1f}"),
        ("most less least scored, over the mean", f"{100 * found.unfairness:.1f} %"),
        ("score age p99, once adapted", f"{found.age_p99_ms:.0f} ms"),
        ("oldest score while adapting", f"{found.age_worst_ms:.0f} ms"),
        ("states without a score, or unknown", str(found.stale)),
        ("largest share of pictures called damaged", f"{100 * found.damaged:.1f} %"),
        ("full rate again after", seconds(found.recovered_s)),
    ]
    half, all_ = found.feeds
    return (
        f"{half}, then {all_} feeds of {size} H.264 25 fps over UDP; {os.cpu_count()} cores, {platform.machine()}.\n\n"
        "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=3, help="feeds that this machine holds; twice as many come")
    parser.add_argument("--seconds", type=float, default=30.0, help="that overload is measured for")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    width, height = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make_clip(clip, width, height)
        found = asyncio.run(measure(clip, args.streams, args.seconds))
    print(json.dumps(asdict(found), indent=1) if args.json else table(found, args.size))


if __name__ == "__main__":
    main()
