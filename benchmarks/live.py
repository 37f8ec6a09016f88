"""The whole monitor on live feeds, against its parts. ``python -m benchmarks.live --streams 1 2 4 10``.

Every feed is H.264 in MPEG-TS over UDP, sent in real time by a process of its own, each at another place of the clip,
so that their key frames do not come together. The monitor is ``vqwatch run``, with its broker, ledger and all, as it
comes out of the box; all of its processes count. What it spends a picture is its CPU time over the pictures that it
scored; what its parts spend is measured in the same run: decoder, preprocessing and engine by themselves, one after the
other. Their ratio is the efficiency: 1 is a monitor that does nothing but what it must.

Parts are measured in one thread and in all: where two virtual cores share one physical core, CPU time buys less when
both are busy, so a monitor with little to do is held against the first, a busy one against the second, and any other
against what lies between, by its share of the cores.
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
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
import av
import numpy as np
import psutil

from engines.base import FeatureEngine
from engines.bundle import BUNDLED
from monitor.commands.model_arguments import open_model
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.capacity import make_clip, measure_parts

ROOT = Path(__file__).resolve().parents[1]
_NODE = "bench"
_PARTS = ("decode", "preprocess", "engine")
#: After the first scores, until measuring begins.
_SETTLE_S = 8.0


def send(clip: str, port: int, start_s: float, stop: threading.Event) -> None:
    """Loops the clip over UDP in real time, its time stamps going on, from some seconds into it."""
    with av.open(clip) as source, av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        assert stream.time_base is not None
        assert stream.duration is not None
        tick = float(stream.time_base)
        before, began_s, first = 0, time.monotonic(), round(start_s / tick)
        source.seek(first, stream=stream)
        origin: int | None = None
        while not stop.is_set():
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                dts = packet.dts + before
                origin = dts if origin is None else origin
                late_s = began_s + (dts - origin) * tick - time.monotonic()
                if late_s > 0 and stop.wait(late_s):
                    return
                packet.pts, packet.dts, packet.stream = packet.pts + before, dts, out
                target.mux(packet)
            before += stream.duration
            source.seek(0)


def serve(clip: str, ports: list[int], length_s: float) -> None:
    """All senders, until stdin ends."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=send, args=(clip, port, length_s * i / len(ports), stop))
        for i, port in enumerate(ports)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()


def free_ports(count: int, kind: socket.SocketKind) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass
class Seen:
    """What the monitor published while it was measured."""

    states: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    health: list[dict[str, Any]] = field(default_factory=list)

    def clear(self) -> None:
        """Forgets what came so far."""
        self.states.clear()
        self.health.clear()


def senders(clip: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    """A process that feeds these ports until it is killed."""
    command = [sys.executable, "-m", "benchmarks.live", "--send", str(clip), "--ports", *map(str, ports)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)


def silence(sending: subprocess.Popen[bytes]) -> None:
    """Ends such a process; more than once does no harm."""
    sending.kill()
    sending.wait()
    if sending.stdin is not None:
        sending.stdin.close()


async def listen(port: int, seen: Seen, connected: asyncio.Event) -> None:
    """Keeps every state and health message."""
    while True:
        try:
            async with aiomqtt.Client("127.0.0.1", port) as client:
                await client.subscribe(f"vqwatch/{_NODE}/#")
                connected.set()
                async for message in client.messages:
                    kind = str(message.topic).rsplit("/", 1)[-1]
                    if not isinstance(message.payload, bytes) or kind not in ("state", "health"):
                        continue
                    payload = json.loads(message.payload)
                    if kind == "health":
                        seen.health.append(payload)
                    else:
                        seen.states[str(message.topic).split("/")[-2]].append(payload)
        except aiomqtt.MqttError:
            await asyncio.sleep(0.1)


def cpu_of(processes: list[psutil.Process]) -> float:
    """Seconds that they have spent."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


@dataclass(frozen=True)
class Row:
    """One count of streams."""

    streams: int
    seconds: float
    cores: float
    ms_a_picture: float
    parts_ms: float
    coverage: float
    at_full_rate: bool
    lost: int
    age_p50_ms: float
    age_p99_ms: float
    loop_p99_ms: float
    first_score_s: float
    rss_mb: float
    sender_cores: float


def configuration(folder: Path, fps: float) -> Path:
    """Of a monitor that analyses so many pictures a second, and is otherwise as it comes."""
    path = folder / "bench.yaml"
    path.write_text(f"sampling: {{fps: {fps:g}}}\n")
    return path


async def measure(
    clip: Path, count: int, seconds: float, idle_ms: float, busy_ms: float, model: list[str], fps: float
) -> Row:
    """Runs the monitor on so many feeds for so long."""
    ports = free_ports(count, socket.SOCK_DGRAM)
    (mqtt,) = free_ports(1, socket.SOCK_STREAM)
    sender = senders(clip, ports)
    seen, connected = Seen(), asyncio.Event()
    listening = asyncio.create_task(listen(mqtt, seen, connected))
    with tempfile.TemporaryDirectory() as folder:
        named = [a for i in range(count) for a in ("--id", f"s{i:02}")]
        urls = [f"udp://127.0.0.1:{port}" for port in ports]
        started_s = time.monotonic()
        monitor = subprocess.Popen(  # noqa: ASYNC220
            [
                sys.executable, "-m", "monitor", "run", *urls, *named, *model, "--config",
                str(configuration(Path(folder), fps)), "--node", _NODE, "--mqtt-port",
                str(mqtt), "--ws-port", "0", "--http-port", "0", "--data-dir", folder,
            ],
            cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        said: list[str] = []
        assert monitor.stderr is not None
        reading = asyncio.create_task(asyncio.to_thread(lambda: said.extend(monitor.stderr or ())))
        try:
            while not all(any("score" in s for s in seen.states[f"s{i:02}"]) for i in range(count)):
                if monitor.poll() is not None or time.monotonic() - started_s > 120:
                    raise SystemExit(f"no scores: {''.join(said)[-2000:]}")
                await asyncio.sleep(0.05)
            first_score_s = time.monotonic() - started_s
            await asyncio.sleep(_SETTLE_S)
            process, feeding = psutil.Process(monitor.pid), psutil.Process(sender.pid)
            parts = [process, *process.children(recursive=True)]
            seen.clear()
            before, fed, began_s = cpu_of(parts), cpu_of([feeding]), time.monotonic()
            await asyncio.sleep(seconds)
            cpu_s, took_s = cpu_of(parts) - before, time.monotonic() - began_s
            fed = cpu_of([feeding]) - fed
            # What processes share is counted once.
            rss_mb = sum(part.memory_full_info().pss for part in parts) / 1e6
        finally:
            monitor.terminate()
            await asyncio.to_thread(monitor.wait, 30)
            silence(sender)
            listening.cancel()
            await reading
            monitor.stderr.close()
    states = [s for of_one in seen.states.values() for s in of_one]
    ages = np.array([s.get("age_ms", np.nan) for s in states], float)
    spans = [(s[0], s[-1]) for s in seen.states.values()]
    # Counters are those of the first and the last message, and the time is that between them.
    rate = sum((b["samples"] - a["samples"]) / (b["ts"] - a["ts"]) * 1000 for a, b in spans)
    rates = Counter(s["sample_fps"] for s in states)
    cores = cpu_s / took_s
    share = min(1.0, cores / (os.cpu_count() or 1))
    return Row(
        streams=count,
        seconds=took_s,
        cores=cores,
        ms_a_picture=1000 * cores / rate,
        parts_ms=idle_ms + share * (busy_ms - idle_ms),
        coverage=float(np.mean([s.get("coverage", 0.0) for s in states])),
        at_full_rate=set(rates) == {max(rates)} and not any(h.get("shed") for h in seen.health),
        lost=sum(b["dropped"] - a["dropped"] for a, b in spans),
        age_p50_ms=float(np.nanquantile(ages, 0.5)),
        age_p99_ms=float(np.nanquantile(ages, 0.99)),
        loop_p99_ms=float(np.max([h["loop_lag_ms"] for h in seen.health])) if seen.health else float("nan"),
        first_score_s=first_score_s,
        rss_mb=rss_mb,
        sender_cores=fed / took_s,
    )


def part_costs(clip: Path, scoring: BundleScoring, threads: int, engine: FeatureEngine, feed_fps: int) -> list[float]:
    """Milliseconds of CPU of each part, a picture that is scored; all of the feed's are decoded."""
    decode, *others = measure_parts(clip, scoring, engine, threads, seconds=4.0)
    decoded = feed_fps / float(scoring.scoring.fps)
    return [1000 * decode.cpu_s * decoded, *(1000 * part.cpu_s for part in others)]


def table(rows: list[Row], costs: dict[str, list[float]], size: str, fps: float, feed_fps: int) -> str:
    """What was found, as Markdown."""
    analysed = "every frame" if fps == feed_fps else f"{fps:g} of them a second analysed"
    lines = [
        f"{size} H.264 {feed_fps} fps in MPEG-TS over UDP, {analysed}; {os.cpu_count()} cores, {platform.machine()}.",
        "",
        "| CPU ms a picture, by itself | decode | preprocess | engine | sum |",
        "|---|---|---|---|---|",
        *(f"| {name} | {' | '.join(f'{c:.2f}' for c in cost)} | {sum(cost):.2f} |" for name, cost in costs.items()),
        "",
        "| streams | s | cores | ms a picture | efficiency | coverage | shed | dropped | age p50 | age p99 "
        "| loop lag p99 | first score | memory | sender's cores |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.streams} | {r.seconds:.0f} | {r.cores:.2f} | {r.ms_a_picture:.2f} "
        f"| {r.parts_ms / r.ms_a_picture:.2f} | {r.coverage:.4f} | {'no' if r.at_full_rate else 'yes'} | {r.lost} "
        f"| {r.age_p50_ms:.0f} ms | {r.age_p99_ms:.0f} ms | {r.loop_p99_ms:.1f} ms | {r.first_score_s:.1f} s "
        f"| {r.rss_mb:.0f} MB | {r.sender_cores:.2f} |"
        for r in rows
    ]
    if len(rows) > 1:
        few, many = rows[0], rows[-1]
        more = (many.rss_mb - few.rss_mb) / (many.streams - few.streams)
        lines += ["", f"Memory of each stream after the first: {more:.1f} MB."]
    whole = [r for r in rows if r.at_full_rate]
    if len(whole) > 1:
        few, many = whole[0], whole[-1]
        least, most = (1000 * row.cores / row.streams for row in (few, many))
        lines += [
            "",
            f"A stream's second, nothing shed, takes {least:.1f} ms of a core with {few.streams} and {most:.1f} with "
            f"{many.streams} ({most / least - 1:+.0%}).",
        ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=30.0, help="that each count is measured for")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--feed-fps", type=int, default=25, help="pictures a second of each feed")
    parser.add_argument("--fps", type=float, default=25.0, help="of which so many are analysed")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--readers", choices=("processes", "threads"), default="processes")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write it below a heading of its own")
    parser.add_argument("--send", metavar="CLIP", help=argparse.SUPPRESS)
    parser.add_argument("--ports", type=int, nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.send:
        with av.open(args.send) as source:
            length_s = (source.duration or 0) / av.time_base
        serve(args.send, args.ports, length_s)
        return
    width, height = map(int, args.size.split("x"))
    model = ["--precision", args.precision, "--readers", args.readers]
    scoring, engine = open_model(BUNDLED, "openvino", args.precision, 0, fps=args.fps)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make_clip(clip, width, height, args.feed_fps)
        cores = os.cpu_count() or 1
        costs = {"in one thread": part_costs(clip, scoring, 1, engine, args.feed_fps)}
        costs[f"in {cores} threads"] = part_costs(clip, scoring, cores, engine, args.feed_fps)
        engine.close()
        idle_ms, busy_ms = (sum(cost) for cost in costs.values())
        rows = []
        for count in args.streams:
            rows.append(asyncio.run(measure(clip, count, args.seconds, idle_ms, busy_ms, model, args.fps)))
            print(f"{count} streams measured", file=sys.stderr)
        text = table(rows, costs, args.size, args.fps, args.feed_fps)
    print(text)
    if args.write is not None:
        counts = " ".join(map(str, args.streams))
        given = {"size": args.size, "feed-fps": args.feed_fps, "fps": args.fps}
        other = {k: v for k, v in given.items() if v != parser.get_default(k.replace("-", "_"))}
        size = "".join(
            f" --{name} {value:g}" if name == "fps" else f" --{name} {value}" for name, value in other.items()
        )
        args.write.write_text(
            f"# The monitor on live feeds\n\nWritten by `python -m benchmarks.live --streams {counts} "
            f"--seconds {args.seconds:g}{size} --write FILE` (`make bench` measures more): what "
            "the whole monitor spends, against its parts in the same run; the script says how.\n\n" + text
        )


if __name__ == "__main__":
    main()
