"""The demo's player: a process that sends impaired live feeds as H.264 in MPEG-TS over UDP on this machine.

It speaks JSON lines on stdout: ``feeds`` at once, ``started`` when every feed plays and the script's clock begins,
then ``impairment_started`` and ``impairment_ended``; times are UTC seconds since 1970. Everything else goes to
stderr. It ends on SIGTERM or SIGINT, and with ``--parent`` when its stdin is closed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.demo.encoder import CLEAN_BITS_PER_PIXEL, TsSender
from monitor.demo.impairments import Effect, effect
from monitor.demo.material import FileMaterial, Material
from monitor.demo.scenes import SCENES, Loop, default_cache
from monitor.demo.script import Fault, Script, default_script, parse_script
from monitor.errors import UsageError

#: A feed that is later than this is not hurried any more: its schedule moves instead.
_MAX_LATE_S = 1.5
#: How often a feed may complain that it is late.
_TELL_S = 30.0


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed to play.

    Attributes:
        id: Name in scripts and events.
        title: Name for people.
        material: What is played.
        port: UDP port on the loopback interface.
    """

    id: str
    title: str
    material: Material
    port: int

    @property
    def url(self) -> str:
        """Where a receiver finds it."""
        return f"udp://127.0.0.1:{self.port}"


class Player:
    """Plays feeds against one script's clock.

    Threads: one for each feed (it alone touches the feed's material, effect and sender); events are printed under
    a lock; ``stop`` may be called from anywhere, a signal handler too.

    Args:
        feeds: What to play.
        script: What happens to them.
        fps: Pictures a second.
    """

    def __init__(self, feeds: Sequence[Feed], script: Script, fps: float) -> None:
        self._feeds, self._script, self._fps = feeds, script, fps
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._waiting = len(feeds)
        self._zero: float | None = None  # monotonic time at which the script's clock began
        self._failed = False

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def run(self) -> int:
        """Play until stopped; the exit status."""
        self._say(
            event="feeds",
            feeds=[{"id": feed.id, "url": feed.url, "title": feed.title} for feed in self._feeds],
            script={
                "period_s": self._script.period_s,
                "faults": [
                    {"at_s": f.at_s, "duration_s": f.duration_s, "feed": f.feed, "impairment": f.impairment}
                    for f in self._script.faults
                ],
            },
        )
        threads = [threading.Thread(target=self._guarded, args=(feed,), name=f"play-{feed.id}") for feed in self._feeds]
        for thread in threads:
            thread.start()
        self._stop.wait()
        for thread in threads:
            thread.join()
        for feed in self._feeds:
            feed.material.close()
        return int(self._failed)

    def _say(self, **event: object) -> None:
        with self._lock:
            try:
                print(json.dumps(event), flush=True)
            except (BrokenPipeError, ValueError):
                self.stop()

    def _guarded(self, feed: Feed) -> None:
        try:
            while not feed.material.wait_playable(self._fps, 0.2):
                if self._stop.is_set():
                    return
            self._play(feed)
        except Exception as error:  # the one place that decides: a feed that fails ends the demo
            print(f"vqwatch demo player: feed {feed.id} failed: {error}", file=sys.stderr, flush=True)
            self._failed = True
            self.stop()

    def _elapsed(self, now: float) -> float:
        """Seconds on the script's clock, below 0 before it begins."""
        return -1.0 if self._zero is None else now - self._zero

    def _is_playing(self) -> None:
        """A feed is on air; the script begins with the last one."""
        with self._lock:
            self._waiting -= 1
            begins = self._waiting == 0
        if begins:
            self._zero = time.monotonic()
            self._say(event="started", at=round(time.time(), 3))

    def _play(self, feed: Feed) -> None:
        material = feed.material
        sender = TsSender(f"{feed.url}?pkt_size=1316", material.width, material.height, self._fps)
        present: tuple[int, Fault] | None = None
        impaired: Effect | None = None
        anchor, number = time.monotonic(), 0
        slipped, told = 0.0, -_TELL_S
        try:
            while not self._stop.is_set():
                due = anchor + number / self._fps
                late = time.monotonic() - due
                if late < 0.0 and self._stop.wait(-late):
                    break
                if late > _MAX_LATE_S:
                    anchor += late
                    slipped += late
                    if due > told + _TELL_S:
                        told = due
                        word = f"vqwatch demo player: no time for {feed.id}, {slipped:.1f} s late in all"
                        print(word, file=sys.stderr, flush=True)
                fault = self._script.active(feed.id, self._elapsed(due))
                if fault != present:
                    self._change(feed, present, fault)
                    present, impaired = fault, effect(fault[1].impairment, self._fps) if fault else None
                if impaired is None:
                    sender.send(material.picture(number), number)
                else:
                    picture = impaired.picture(material.picture, number)
                    if picture is None:
                        sender.pause()
                    else:
                        sender.send(picture, number, impaired.bits_per_pixel or CLEAN_BITS_PER_PIXEL)
                number += 1
                if number == 1:
                    self._is_playing()
        finally:
            sender.close()

    def _change(self, feed: Feed, before: tuple[int, Fault] | None, after: tuple[int, Fault] | None) -> None:
        for fault, word in ((before, "impairment_ended"), (after, "impairment_started")):
            if fault is not None:
                self._say(event=word, feed=feed.id, impairment=fault[1].impairment, at=round(time.time(), 3))


def free_ports(count: int) -> list[int]:
    """UDP ports of the loopback interface that nobody uses now."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            found = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            found.bind(("127.0.0.1", 0))
            ports.append(int(found.getsockname()[1]))
        return ports


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monitor.demo.player", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--source", action="append", type=Path, default=[], metavar="FILE", help="play this file, not a scene")
    add("--scene", action="append", default=[], choices=list(SCENES), help="play this scene (default: all)")
    add("--script", type=Path, metavar="FILE", help="faults to play (YAML)")
    add("--port", action="append", type=int, default=[], help="UDP port of the next feed, 0 for a free one")
    add("--size", default="960x540", metavar="WxH", help="size of the scenes (default: %(default)s)")
    add("--seed", type=int, default=1, help="content of the scenes")
    add("--fps", type=float, default=25.0, help="pictures a second (default: %(default)s)")
    add("--loop", type=float, default=8.0, metavar="SECONDS", help="length of a scene (default: %(default)s)")
    add("--cache", type=Path, help="folder for rendered scenes")
    add("--parent", action="store_true", help="end when stdin is closed")
    return parser


def _ids(options: argparse.Namespace) -> list[str]:
    """An id for each feed: the scene's name, or the file's, numbered where it is there already."""
    if not options.source:
        return options.scene or ["coast", "city", "mountains"]
    ids: list[str] = []
    for path in options.source:
        plain = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "source"
        numbers = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
        ids.append(next(name for name in numbers if name not in ids))
    return ids


def _feeds(options: argparse.Namespace, ids: Sequence[str]) -> list[Feed]:
    free = iter(free_ports(len(ids)))
    ports = [port or next(free) for port in (*options.port[: len(ids)], *[0] * (len(ids) - len(options.port)))]
    if options.source:
        files = [FileMaterial(path, options.fps) for path in options.source]
        titles = [path.name for path in options.source]
        return [Feed(*parts) for parts in zip(ids, titles, files, ports, strict=True)]
    match = re.fullmatch(r"(\d+)x(\d+)", options.size)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if width % 2 or height % 4 or min(width, height) < 64:
        raise UsageError(f"--size needs an even width and a height divisible by 4, from 64, got {options.size}")
    cache = options.cache or default_cache()
    try:
        loops = [Loop(name, options.seed, width, height, options.fps, options.loop, cache) for name in ids]
    except OSError as error:
        raise UsageError(f"cannot keep rendered scenes in {cache}: {error.strerror}") from error
    return [Feed(name, SCENES[name].title, loop, port) for name, loop, port in zip(ids, loops, ports, strict=True)]


def _script(options: argparse.Namespace, ids: Sequence[str]) -> Script:
    if options.script is None:
        return default_script(ids)
    try:
        text = options.script.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {options.script}: {getattr(error, 'strerror', None) or error}") from error
    return parse_script(text, str(options.script), ids)


def _watch_parent(player: Player) -> None:
    # Not through sys.stdin: its lock, held by a thread that waits, would abort the interpreter's exit.
    while os.read(0, 4096):
        pass
    player.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the player; the exit status is 0, 1 (a feed failed) or 2 (usage)."""
    options = _arguments().parse_args(arguments)
    try:
        ids = _ids(options)
        script = _script(options, ids)
        feeds = _feeds(options, ids)
    except UsageError as error:
        print(f"vqwatch demo: {error}", file=sys.stderr)
        return 2
    player = Player(feeds, script, options.fps)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: player.stop())
    if options.parent:
        threading.Thread(target=_watch_parent, args=(player,), name="parent", daemon=True).start()
    return player.run()


if __name__ == "__main__":
    sys.exit(main())
