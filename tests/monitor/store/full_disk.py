"""A log on a disk that is full, then not: the kernel refuses to let files of this process grow."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from pathlib import Path

from monitor.store.alert_log import AlertLog
from monitor.store.ledger import Ledger
from monitor.types import AlertEvent, Severity, StreamId


async def main(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    sent: list[int] = []

    def send(event: AlertEvent) -> bool:
        sent.append(event.seq)
        return True

    async with AlertLog(folder, send, retry_s=0.05) as log:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
        seq = 0
        while log.trouble is None:
            seq += 1
            log.append(AlertEvent(f"a{seq}", seq, StreamId("cam"), "lost", Severity.MAJOR, "raised", 1e9))
            await asyncio.sleep(0.002)
        trouble = log.trouble
        for _ in range(20):
            seq += 1
            log.append(AlertEvent(f"a{seq}", seq, StreamId("cam"), "lost", Severity.MAJOR, "raised", 1e9))
        at_once = sent[-1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        while log.trouble is not None:
            await asyncio.sleep(0.01)
    ledger = Ledger(log.path, clock=lambda: 1e9)
    recorded = [event.seq for event in ledger.events()]
    ledger.close()
    print(json.dumps({"trouble": trouble, "appended": seq, "at_once": at_once, "sent": sent, "recorded": recorded}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
