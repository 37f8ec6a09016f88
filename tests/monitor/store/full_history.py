"""A history on a disk that is full, then not: the kernel refuses to let files of this process grow."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from pathlib import Path

from monitor.core.metrics import METRICS
from monitor.core.record import Record
from monitor.store.history import History
from monitor.store.history_file import Kind
from monitor.store.history_reader import HistoryReader
from monitor.types import Condition, Status, StreamId

START_MS = 1_800_000_000_000


async def main(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    appended, slowest, said = 0, 0.0, None
    loop = asyncio.get_running_loop()
    async with History(folder, flush_s=0.02, retry_s=0.05) as history:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
        while said is None or appended < 3000:
            began = loop.time()
            metrics = dict.fromkeys(METRICS) | {"score": appended % 97}
            record = Record(START_MS + appended * 1000, Status.OK, Condition.OK, metrics)
            history.append(StreamId("cam"), record)
            slowest = max(slowest, loop.time() - began)
            appended += 1
            if appended % 50 == 0:
                await asyncio.sleep(0.01)
            said = said or history.trouble
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        while history.trouble is not None:
            await asyncio.sleep(0.01)
    with HistoryReader(history.path) as reader:
        found = [(r.ts - START_MS) // 1000 for r in reader.records(Kind.SECONDS, StreamId("cam"), 0, 2**52)]
    whole = found == list(range(appended))
    print(json.dumps({"trouble": said, "appended": appended, "whole": whole, "slowest_append_s": slowest}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
