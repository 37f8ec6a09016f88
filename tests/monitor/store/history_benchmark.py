"""How fast the history writes and how large it gets: python -m tests.monitor.store.history_benchmark [--streams N].

Scores wander as measured ones do: noise of a point, faults now and then; the file is written as the monitor does it,
five seconds of all streams at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from monitor.core.metrics import METRICS
from monitor.core.record import Record
from monitor.store.history_file import HistoryFile, Kind
from monitor.store.history_reader import HistoryReader
from monitor.types import Condition, Status, StreamId


def feed(name: str, start_ms: int) -> Iterator[Record]:
    """Seconds of one stream, for ever."""
    chance = random.Random(name)
    usual = chance.uniform(60, 92)
    wander, ten, sixty, second = 0.0, usual, usual, 0
    while True:
        wander = 0.9 * wander + chance.gauss(0, 0.6)
        fault = 30.0 if second % 1800 > 1770 else 0.0
        score = round(min(100.0, max(0.0, usual + wander - fault)), 2)
        ten, sixty = ten + (score - ten) / 10, sixty + (score - sixty) / 60
        metrics = dict.fromkeys(METRICS, 0.0) | {
            "silence_s": None, "format_mismatch": None, "score": score, "score_10s": round(ten, 2),
            "score_60s": round(sixty, 2), "score_min_60s": round(sixty - 3, 2), "drop": round(max(0, usual - score), 2),
            "band": float(1 + score // 20), "coverage": 1.0, "fps_in": round(25 + chance.gauss(0, 0.2), 2),
        }  # fmt: skip
        cause = "compression" if fault else chance.choices(["clean", "noise"], [9, 1])[0]
        yield Record(
            start_ms + second * 1000 + chance.randrange(8), Status.OK, Condition.OK, metrics, round(usual, 2), cause,
            round(chance.uniform(0.5, 0.99), 3), score,
        )  # fmt: skip
        second += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=600)
    args = parser.parse_args()
    start_ms = 1_800_000_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        file = HistoryFile(
            path,
            keep_seconds_s=1e9,
            keep_minutes_s=1e9,
            max_bytes=10**12,
            clock=time.time,
            monotonic=time.monotonic,
        )
        feeds = {StreamId(f"s{n:03}"): feed(f"s{n:03}", start_ms) for n in range(args.streams)}
        spent, cpu = 0.0, 0.0
        for _ in range(args.seconds // 5):
            batch = [(name, next(records)) for _ in range(5) for name, records in feeds.items()]
            began, used = time.perf_counter(), time.process_time()
            file.write(batch)
            spent, cpu = spent + time.perf_counter() - began, cpu + time.process_time() - used
        file.finish()
        used_bytes = file.bytes_used()
        file.close()
        rows = args.streams * args.seconds
        with HistoryReader(path) as reader:
            began = time.process_time()
            name = reader.streams[0]
            columns = reader.columns(Kind.SECONDS, name, 0, 2**52, ("score", "drop"))
            read_s = time.process_time() - began
            counts = dict.fromkeys(Kind, 0)
            sizes = dict.fromkeys(Kind, 0)
            for key, size in reader._db.execute("SELECT key, length(data) FROM block"):
                counts[Kind(key >> 56)] += 1
                sizes[Kind(key >> 56)] += size
        told = {
            "streams": args.streams,
            "rows": rows,
            "rows_per_s": round(rows / spent),
            "rows_per_cpu_s": round(rows / cpu),
            "cpu_share_of_one_core": round(cpu / args.seconds, 4),
            "file_bytes_per_row": round(used_bytes / rows, 1),
            "second_bytes_per_row": round(sizes[Kind.SECONDS] / rows, 1),
            "minute_bytes_per_row": round(sizes[Kind.MINUTES] / max(1, rows / 60), 1),
            "file_mb": round(os.path.getsize(path) / 1e6, 1),
            "read_rows_per_cpu_s": round(len(columns["ts"]) / read_s),
        }
        print(json.dumps(told))


if __name__ == "__main__":
    main()
