"""What a scrape of 500 streams costs: ``python -m tests.monitor.observe.metrics_benchmark``."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import statistics
import time

from engines.base import EngineInfo, Precision
from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.core.alert_book import AlertBook, default_rules
from monitor.instruments import read_engine, read_stream
from monitor.observe.loop_lag import LoopLag
from monitor.observe.metrics import MetricsPage
from monitor.observe.readings import BrokerReading, HistogramReading, Reading
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.stream_task import StreamSettings, StreamTask
from monitor.types import Condition, Status, StreamId, StreamState


class _NoEngine:
    info = EngineInfo("none", "0", "cpu", Precision.F32, 16, "none@0")

    def close(self) -> None:
        pass


def state(now_s: float) -> StreamState:
    """A state with every number there."""
    return StreamState(
        ts=int(now_s * 1000), seq=9, epoch=1, status=Status.OK, condition=Condition.OK, coverage=1.0, samples=10**6,
        dropped=17, corrupt=3, repeated=4, sample_fps=25.0, model="m@1", score=71.123456789, score_10s=70.987654321,
        score_60s=70.5, score_min_60s=68.25, baseline=71.1, drop=0.0, uncertainty=9.5, fps_in=25.0, lag_ms=512.3,
    )  # fmt: skip


async def measure(count: int, scrapes: int) -> dict[str, float]:
    """CPU milliseconds of each part (medians), sizes, and the event loop's worst lag with and without scrapes."""
    scoring = BundleScoring.of(load_bundle(bundles_folder() / BUNDLED))
    inference = InferenceThread(_NoEngine(), scoring.head)  # type: ignore[arg-type]
    batcher = Batcher(inference)
    tasks = [
        StreamTask(
            StreamSettings(id_ := StreamId(f"channel-{number:04d}"), live=True),
            lambda: None,  # type: ignore[arg-type, return-value]
            scoring,
            batcher,
            AlertBook(id_, default_rules(), lambda: "id"),
            on_info=lambda *_: None,
        )
        for number in range(count)
    ]
    shown = state(time.time())
    reading_ms: list[float] = []

    def read() -> Reading:
        began = time.thread_time()
        none = HistogramReading((1.0,), (0, 0), 0.0)
        reading = Reading(
            "1", "m@1", "n1", [read_stream(task, shown) for task in tasks], read_engine(inference, batcher),
            BrokerReading(True, 0, 0, 10, 0, 0, 0), 0.001, 0, 0.0, none,
        )  # fmt: skip
        reading_ms.append((time.thread_time() - began) * 1000)
        return reading

    page, idle, lag = MetricsPage(read), LoopLag(0.005), LoopLag(0.005)
    watching = asyncio.create_task(idle.run())
    await asyncio.sleep(3.0)
    watching.cancel()
    watching = asyncio.create_task(lag.run())
    whole_ms, cpu_ms = [], []
    body = b""
    for _ in range(scrapes):
        began, cpu = time.perf_counter(), time.process_time()
        body, _ = await page("", True)
        whole_ms.append((time.perf_counter() - began) * 1000)
        cpu_ms.append((time.process_time() - cpu) * 1000)
        await asyncio.sleep(0.1)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    inference.close()
    text = gzip.decompress(body)
    return {
        "streams": count,
        "series": sum(not line.startswith(b"#") for line in text.splitlines()),
        "text_kb": len(text) / 1e3,
        "gzip_kb": len(body) / 1e3,
        "loop_cpu_ms": statistics.median(reading_ms),
        "cpu_ms": statistics.median(cpu_ms),
        "answer_ms": statistics.median(whole_ms),
        "idle_lag_ms": idle.percentile_ms(1.0),
        "loop_lag_ms": lag.percentile_ms(1.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--scrapes", type=int, default=10)
    args = parser.parse_args()
    for name, value in asyncio.run(measure(args.streams, args.scrapes)).items():
        print(f"{name:12} {value:10.1f}")


if __name__ == "__main__":
    main()
