"""Monitors' alert ends, one after the other, each killed at a random instant; the last one ends when nothing is owed.

Each makes alerts on three streams as fast as its ledger records them and sends them to the webhooks whose addresses are
given. A process of its own, so that it may fork: that makes many monitors as cheap as one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from monitor.store.alert_log import AlertLog
from monitor.types import AlertEvent, Severity, StreamId
from monitor.webhook_section import WebhookSection
from monitor.webhooks import Webhooks

STREAMS = ("a", "b", "c")


async def monitor(folder: Path, urls: list[str], progress: int, *, making: bool) -> None:
    log: AlertLog | None = None

    def settled(event: AlertEvent, destination: str) -> None:
        assert log is not None
        log.delivered(event, destination)
        os.write(progress, b".")

    def mqtt(event: AlertEvent) -> bool:
        assert log is not None
        asyncio.get_running_loop().call_soon(log.delivered, event)
        return True

    sections = [WebhookSection(name=f"hook{number}", url=url) for number, url in enumerate(urls)]  # type: ignore[arg-type]
    webhooks = Webhooks(sections, "n1", durable=True, on_settled=settled)
    log = AlertLog(folder, mqtt, send_to=webhooks.offer)
    async with log:
        log.send_undelivered()
        seqs = {stream: log.standing.next_seq.get(StreamId(stream), 1) for stream in STREAMS}
        async with webhooks.running():
            chance = random.Random(sum(seqs.values()))
            while making:
                stream = chance.choice(STREAMS)
                seq = seqs[stream]
                # Odd numbers raise, even ones clear.
                event = AlertEvent(
                    f"{stream}-{seq - (seq + 1) % 2}",
                    seq,
                    StreamId(stream),
                    "lost",
                    Severity.MAJOR,
                    "raised",
                    time.time(),
                )
                if seq % 2 == 0:
                    event = replace(event, status="cleared", cleared_at=time.time())
                log.append(event, webhooks.addressed(event))
                seqs[stream] += 1
                await log.flush(60)
                os.write(progress, b".")
            while any(counts.pending for counts in webhooks.counts.values()):
                # Fails, and thereby ends this process, where the one that made it is gone.
                os.write(progress, b".")
                await asyncio.sleep(0.01)


def main(folder: Path, urls: list[str], kills: int) -> None:
    chance = random.Random(int(os.environ.get("VQWATCH_FAULT_SEED", "1")))
    for number in range(kills + 1):
        last = number == kills
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            asyncio.run(monitor(folder, urls, writing, making=not last))
            os._exit(0)
        os.close(writing)
        if last:
            while os.read(reading, 65536):
                pass
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status))
        # Some die while they open the ledger, others with much under way.
        steps = chance.randrange(60) if number % 4 else 0
        while steps > 0 and (got := os.read(reading, steps)):
            steps -= len(got)
        time.sleep(chance.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[3:], int(sys.argv[2]))
