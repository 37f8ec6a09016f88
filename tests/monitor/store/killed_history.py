"""Writers of one history, one after the other, each killed at a random instant; says what each saw recorded.

A process of its own, so that it may fork: that makes many writers cheap.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from monitor.core.metrics import METRICS
from monitor.core.record import Record
from monitor.store.history_file import HistoryFile, Kind
from monitor.store.history_reader import HistoryReader
from monitor.types import Condition, Status, StreamId

CAM = StreamId("cam")
START_MS = 1_800_000_000_000


def write_for_ever(path: Path, begun: int, first: int) -> NoReturn:
    file = HistoryFile(
        path, keep_seconds_s=1e9, keep_minutes_s=1e9, max_bytes=10**10, clock=time.time, monotonic=time.monotonic
    )
    number = first
    while True:
        records = [
            Record(START_MS + n * 1000, Status.OK, Condition.OK, dict.fromkeys(METRICS) | {"score": n % 100})
            for n in range(number, number + 5)
        ]
        file.write([(CAM, record) for record in records])
        number += 5
        os.write(1, f"recorded {number - 1}\n".encode())
        os.write(begun, b".")


def main(path: Path, kills: int) -> None:
    chance = random.Random(5)
    first = 0
    for number in range(kills):
        reading, writing = os.pipe()
        writer = os.fork()
        if writer == 0:
            write_for_ever(path, writing, first)
        if number % 2 == 0:
            os.read(reading, 1)  # half of them are well under way; the others may still be opening the file
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        os.close(reading)
        os.close(writing)
        with HistoryReader(path) as reader:
            found = [
                (r.ts - START_MS) // 1000
                for r in reader.records(Kind.SECONDS, CAM, 0, 2**52)
                if r.metrics["score"] is not None
            ]
        first = found[-1] + 1
        os.write(1, f"found {json.dumps([len(found), found[-1]])}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
