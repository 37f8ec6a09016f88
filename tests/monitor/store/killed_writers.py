"""Writers of one ledger, one after the other, each killed at a random instant; says what each saw recorded.

A process of its own, so that it may fork: that makes thirty writers as cheap as one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from monitor.store.ledger import Ledger
from monitor.store.standing import Delivered, key_of
from monitor.types import AlertEvent, Severity, StreamId

CAM = StreamId("cam")


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def write_for_ever(path: Path, begun: int) -> NoReturn:
    ledger = Ledger(path, clock=time.time)
    seq = ledger.standing().next_seq.get(CAM, 1)
    # Of today: delivered events of years ago would be due to be forgotten.
    event = AlertEvent("", 0, CAM, "lost", Severity.CRITICAL, "raised", time.time())
    while True:
        if seq % 2:
            event = replace(event, id=f"alert-{seq}", seq=seq, status="raised", cleared_at=None)
        else:
            event = replace(event, id=f"alert-{seq - 1}", seq=seq, status="cleared", cleared_at=time.time())
        ledger.write([event])
        say(f"recorded {seq}")
        os.write(begun, b".")
        if seq % 3 == 0:
            ledger.write([Delivered(key_of(event))])
            say(f"delivered {seq}")
        seq += 1


def main(path: Path, kills: int) -> None:
    chance = random.Random(11)
    for number in range(kills):
        reading, writing = os.pipe()
        writer = os.fork()
        if writer == 0:
            write_for_ever(path, writing)
        if number % 2:
            os.read(reading, 1)  # half of them are well under way; the others may still be opening the file
        time.sleep(chance.uniform(0.0, 0.05))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        os.close(reading)
        os.close(writing)
        ledger = Ledger(path, clock=time.time)
        standing = ledger.standing()
        found = {
            "seqs": [event.seq for event in ledger.events()],
            "undelivered": [key.seq for key in standing.undelivered],
            "next_seq": standing.next_seq.get(CAM, 1),
            "active": len(standing.active),
        }
        ledger.close()
        say(f"found {json.dumps(found)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
