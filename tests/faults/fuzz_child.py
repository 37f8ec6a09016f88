"""Puts fuzzed input through the real ingest and the model, in a process of its own that may die of it.

``python -m tests.faults.fuzz_child FOLDER KIND SEED FIRST COUNT`` writes ``begin N`` before each case and
``end N OUTCOME`` after it; the outcome is a score, or the code of the failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import threading
from pathlib import Path

from engines.bundle import BUNDLED
from monitor.commands.model_arguments import open_model
from monitor.errors import SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.offline import score_source
from monitor.types import StreamId
from tests.fixtures.transport import PACKET

#: Packets of one connection.
PACKETS = 1000


def fuzzed_packets(data: bytes, source: random.Random) -> bytes:
    """``PACKETS`` packets of a stream, every one of them changed: headers, tables, lengths and pictures."""
    first = source.randrange(max(1, len(data) // PACKET - PACKETS))
    out = bytearray(data[first * PACKET : (first + PACKETS) * PACKET])
    for at in range(0, len(out), PACKET):
        match source.randrange(6):
            case 0:  # the header, its sync byte left so that it is read at all
                out[at + source.randrange(1, 4)] = source.randrange(256)
            case 1:  # the adaptation field, or what stands in its place
                out[at + 3] |= 0x20
                out[at + 4 : at + 12] = source.randbytes(8)
            case 2:  # where tables and PES headers lie
                place = at + source.randrange(4, 40)
                out[place] = source.randrange(256)
            case 3:
                place = at + source.randrange(4, PACKET)
                out[place] ^= 1 << source.randrange(8)
            case 4:
                place = at + source.randrange(4, PACKET - 16)
                out[place : place + 16] = source.randbytes(16)
            case 5:  # another PID: what was a picture is a table now
                out[at + 1 : at + 3] = source.choice([b"\x40\x00", b"\x50\x00", b"\x41\x00", b"\x01\x01", b"\x40\x11"])
    return bytes(out)


def damaged_file(data: bytes, source: random.Random) -> bytes:
    """A file cut off, overwritten, with a piece missing or doubled, or with a spoiled header."""
    size = len(data)
    at, length = source.randrange(size), source.randrange(1, max(2, size // 8))
    match source.randrange(6):
        case 0:
            return data[: max(1, at)]
        case 1:
            return data[:at] + source.randbytes(length) + data[at + length :]
        case 2:
            return data[:at] + data[at + length :] or b"\0"
        case 3:
            return data[: at + length] + data[at:]
        case 4:
            return data[:at] + bytes(length) + data[at + length :]
    out = bytearray(data)
    for _ in range(source.randrange(1, 30)):
        out[source.randrange(min(size, 600))] = source.randrange(256)
    return bytes(out)


@contextlib.contextmanager
def served(data: bytes):  # type: ignore[no-untyped-def]
    """The URL of a TCP server that sends the bytes to one client and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                with client:
                    client.settimeout(10)
                    client.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    thread.join(10)


async def outcome(url: str, live: bool, batcher: Batcher, scoring: BundleScoring) -> str:
    """``score``, ``unscored`` (pictures came, too few or of a kind that is not scored) or a failure's code."""
    source = PyAvSource(url, stream=StreamId("fuzz"), live=live, open_timeout_s=5.0, read_timeout_s=5.0)
    try:
        result = await score_source(
            source, batcher, spec=scoring.input, scoring=scoring.scoring, with_side_channel=scoring.with_side_channel
        )
    except SourceError as error:
        return str(error.code)
    return "unscored" if result.score is None else "score"


async def run(folder: Path, kind: str, seed: int, first: int, count: int) -> None:
    """The cases from ``first`` on."""
    scoring, engine = open_model(BUNDLED, "openvino", "auto", 1)
    inference = InferenceThread(engine, scoring.head, scoring.domain)
    batcher = Batcher(inference, max_wait_s=0.0)
    running = asyncio.create_task(batcher.run())
    clips = sorted(folder.glob("clip*"))
    stream = next(clip.read_bytes() for clip in clips if clip.suffix == ".ts")
    for number in range(first, first + count):
        print(f"begin {number}", flush=True)
        source = random.Random(f"{seed} {kind} {number}")
        if kind == "packets":
            with served(fuzzed_packets(stream, source)) as url:
                said = await outcome(url, True, batcher, scoring)
        else:
            clip = clips[number % len(clips)]
            case = folder / f"case{clip.suffix}"
            case.write_bytes(damaged_file(clip.read_bytes(), source))
            said = await outcome(str(case), False, batcher, scoring)
        print(f"end {number} {said}", flush=True)
    batcher.close()
    await running
    inference.close()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])))
