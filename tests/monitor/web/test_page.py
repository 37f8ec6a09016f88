"""The page in a real browser, over a real broker."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from av import VideoFrame

from monitor.pipeline.stills import StillCamera, StillRing
from monitor.publish import wire
from monitor.publish.embedded import EmbeddedBroker
from monitor.types import AlertEvent, Condition, HistoryQuery, Message, Severity, Status, StreamId, StreamState
from monitor.web.server import DashboardServer
from tests.monitor.web.chromium import CHROMIUM, Chromium

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]
TOPICS = wire.Topics("studio-1")


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Chromium]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian package chromium), which is not installed")
    async with Chromium(tmp_path / "profile") as browser:
        yield browser


def state(score: float | None, *, status: Status = Status.OK, condition: Condition = Condition.OK) -> StreamState:
    return StreamState(
        ts=int(time.time() * 1000), seq=1, epoch=1, status=status, condition=condition, coverage=1.0, samples=25,
        dropped=0, corrupt=0, repeated=0, sample_fps=25.0, model="vqwatch-base@0", score=score, score_10s=score,
        baseline=70.0, drop=None if score is None else 70.0 - score, band=None if score is None else "fair",
        cause="interlacing", cause_p=0.83, fps_in=25.0, age_ms=300.0,
    )  # fmt: skip


def tile(stream: str) -> str:
    return f"document.querySelector('[data-stream=\"{stream}\"]')"


async def test_page_shows_live_scores_alerts_and_marks_what_is_not_live(page: Chromium) -> None:
    async with (
        EmbeddedBroker(mqtt_port=0, ws_port=0) as broker,
        DashboardServer(port=0, node="studio-1", websocket=lambda: broker.ws_port) as server,
    ):
        async with aiomqtt.Client("127.0.0.1", broker.mqtt_port) as monitor:

            async def send(*messages: Message) -> None:
                for message in messages:
                    await monitor.publish(message.topic, message.payload, qos=message.qos, retain=message.retain)

            alert = AlertEvent(
                "a", 1, StreamId("sport"), "quality_drop", Severity.MAJOR, "raised", time.time() - 65, value=16.0
            )
            await monitor.publish(TOPICS.status, wire.ONLINE, qos=1, retain=True)
            await send(wire.alerts_message(TOPICS, 1, [alert]), wire.state_message(TOPICS, "news", state(54.4)))
            await page.open(server.url)

            # What the broker remembers may be of yesterday, so its score is no large number.
            await page.until(f"{tile('news')}?.dataset.stale === 'true'")
            assert await page.value(f"{tile('news')}.querySelector('.score').textContent") == "NOT LIVE"

            lost = state(None, status=Status.UNKNOWN, condition=Condition.LOST)
            await send(
                wire.state_message(TOPICS, "film", state(66.0)),
                wire.state_message(TOPICS, "news", state(54.4)),
                wire.state_message(TOPICS, "gone", lost),
                wire.state_message(TOPICS, "sport", state(54.0)),
            )
            await page.until(f"{tile('news')}.querySelector('.score').textContent === '54'")
            await page.until(f"{tile('sport')}?.querySelector('.alert-tag').textContent.startsWith('MAJOR 1:0')")
            news = await page.value(f"{tile('news')}.innerText")
            assert "fair" in news
            assert "▼ 16 below 70" in news
            assert "interlacing" in news
            assert await page.value(f"{tile('news')}.dataset.stale") == "false"
            assert await page.value(f"{tile('gone')}.querySelector('.score').textContent") == "LOST"
            order = "[...document.querySelectorAll('.tile')].map(t => t.dataset.stream).join()"
            await page.until(f"{order} === 'sport,gone,news,film'")

            # One stream falls silent; the page notices by its own clock.
            await page.until(f"{tile('news')}.dataset.stale === 'true'")
            assert await page.value(f"{tile('news')}.querySelector('.score').textContent") == "NO DATA"
            assert "last score 54" in await page.value(f"{tile('news')}.innerText")
            await send(wire.state_message(TOPICS, "news", state(61.0)))
            await page.until(f"{tile('news')}.querySelector('.score').textContent === '61'")

            # The monitor goes.
            await monitor.publish(TOPICS.status, wire.OFFLINE, qos=1, retain=True)
            await page.until("document.getElementById('banner').textContent.includes('offline')")
            assert await page.value(f"{tile('news')}.dataset.stale") == "true"
            assert page.problems == []
            own = (server.url, f"ws://127.0.0.1:{broker.ws_port}/")
            assert all(address.startswith(own) for address in page.requested), page.requested

        # The broker goes.
        await broker.stop()
        await page.until("document.getElementById('banner').textContent.includes('lost the broker')")


async def test_a_stream_taken_off_the_broker_leaves_the_page(page: Chromium) -> None:
    async with (
        EmbeddedBroker(mqtt_port=0, ws_port=0) as broker,
        DashboardServer(port=0, node="studio-1", websocket=lambda: broker.ws_port) as server,
        aiomqtt.Client("127.0.0.1", broker.mqtt_port) as monitor,
    ):
        message = wire.state_message(TOPICS, "news", state(54.0))
        await monitor.publish(message.topic, message.payload, retain=True)
        await page.open(server.url)
        await page.until(f"{tile('news')} !== null")
        for message in wire.removal_messages(TOPICS, "news"):
            await monitor.publish(message.topic, message.payload, qos=1, retain=True)
        await page.until(f"{tile('news')} === null")


async def test_after_a_reload_the_trace_begins_with_the_recorded_past(page: Chromium) -> None:
    async def past(query: HistoryQuery) -> dict[str, dict[str, list[float | str | None]]]:
        times = [query.to_ms - 1000 * n for n in range(110, 0, -1)]
        return {"news": {"ts": list(times), "score": [None if n == 30 else 90.0 for n in range(110)]}}

    # Whether the trace's area is drawn at half the height, somewhere in the left half of the canvas.
    drawn = f"""(() => {{
        const canvas = {tile("news")}?.querySelector(".trace");
        if (!canvas?.width) return false;
        const row = canvas.getContext("2d").getImageData(0, Math.round(canvas.height * 0.49), canvas.width / 2, 1).data;
        return row.filter((_, i) => i % 4 === 3 && row[i] > 0).length > canvas.width / 4;
    }})()"""
    async with (
        EmbeddedBroker(mqtt_port=0, ws_port=0) as broker,
        DashboardServer(port=0, node="studio-1", websocket=lambda: broker.ws_port, history=past) as server,
        aiomqtt.Client("127.0.0.1", broker.mqtt_port) as monitor,
    ):
        message = wire.state_message(TOPICS, "news", state(54.0))
        await monitor.publish(message.topic, message.payload, retain=True)
        await page.open(server.url)
        await page.until(drawn)
        # The past says nothing of the stream being alive.
        assert await page.value(f"{tile('news')}.querySelector('.score').textContent") == "NOT LIVE"
        assert page.problems == []


class OneAlert:
    """The evidence of one alert, as the monitor's own folder answers."""

    def __init__(self, alert: AlertEvent, jpeg: bytes) -> None:
        self._jpeg = jpeg
        at = wire.utc_text(alert.raised_at)
        self._document = {
            "v": 1, "alert": wire.alert_fields(alert), "metric": "drop",
            "raised": {"at": at, "drop": 16.0, "condition": "ok"}, "worst": {"at": at, "drop": 31.5, "condition": "ok"},
            "curve": {"ts": [1000, 2000, 3000], "score": [70.0, None, 40.0], "baseline": [70.0] * 3},
            "still": {"path": "", "at": at, "width": 64, "height": 36}, "stream": {"codec": "h264"},
        }  # fmt: skip

    async def recent(self, count: int) -> list[dict[str, Any]]:
        return [self._document["alert"]]  # type: ignore[list-item]

    async def document(self, id_: str) -> dict[str, Any] | None:
        return self._document if id_ == self._document["alert"]["id"] else None  # type: ignore[index]

    async def still(self, id_: str) -> bytes | None:
        return self._jpeg


async def test_an_alert_shows_its_worst_picture_and_opens_what_is_known_of_it(page: Chromium) -> None:
    ring = StillRing(1.0)
    StillCamera(ring.add, 64).see(VideoFrame(640, 360, "yuv420p"), 0.0)
    still = ring.near(0.0)
    assert still is not None
    id_ = "01a2076b-bf6e-7ceb-92dd-9ebfd959b9b0"
    alert = AlertEvent(
        id_, 1, StreamId("sport"), "quality", Severity.MAJOR, "raised", time.time() - 5, value=31.5, threshold=15.0,
        still_url=f"https://elsewhere.example/api/alerts/{id_}/still.jpg",
    )  # fmt: skip
    async with (
        EmbeddedBroker(mqtt_port=0, ws_port=0) as broker,
        DashboardServer(
            port=0, node="studio-1", websocket=lambda: broker.ws_port, evidence=OneAlert(alert, still.jpeg)
        ) as server,
        aiomqtt.Client("127.0.0.1", broker.mqtt_port) as monitor,
    ):
        message = wire.alerts_message(TOPICS, 1, [alert])
        await monitor.publish(message.topic, message.payload, qos=1, retain=True)
        await page.open(server.url)
        shot = "document.querySelector('#active .shot img')"
        await page.until(f"{shot}?.naturalWidth === 64")
        # It was raised before the page was opened.
        await page.until("document.querySelectorAll('#events li').length === 1")
        await page.value("document.querySelector('#active .shot').click()")
        await page.until("document.getElementById('evidence-still').naturalWidth === 64")
        said = await page.value("document.getElementById('evidence').innerText")
        for words in ("sport: quality", "worst value 31.5 (limit 15)", "at its worst", "at the raise", "h264"):
            assert words in said, said
        drawn = "document.getElementById('evidence-curve')"
        assert await page.value(
            f"{drawn}.getContext('2d').getImageData(0, 0, {drawn}.width, {drawn}.height).data.some((byte) => byte > 0)"
        )
        assert page.problems == []
        assert not [address for address in page.requested if "elsewhere" in address]


async def test_a_change_is_accepted_from_the_details_of_a_stream(page: Chromium) -> None:
    accepted: list[str] = []

    def accept(stream: str) -> float:
        accepted.append(stream)
        return 48.5

    async with (
        EmbeddedBroker(mqtt_port=0, ws_port=0) as broker,
        DashboardServer(port=0, node="studio-1", websocket=lambda: broker.ws_port, accept=accept) as server,
        aiomqtt.Client("127.0.0.1", broker.mqtt_port) as monitor,
    ):

        async def send(score: float) -> None:
            message = wire.state_message(TOPICS, StreamId("sport"), state(score))
            await monitor.publish(message.topic, message.payload, retain=True)

        await send(48.5)
        await page.open(server.url)
        # What the broker remembers is there once the page listens; what is live comes after it.
        await page.until(f"{tile('sport')}?.dataset.stale === 'true'")
        await send(48.5)
        await page.until(f"{tile('sport')}.dataset.stale === 'false'")
        await page.value(f"{tile('sport')}.querySelector('.open').click()")
        await page.until(
            "document.getElementById('accept').innerText === 'Accept the present level (22 below its usual one)'"
        )
        await page.value("document.getElementById('accept').click()")
        await page.until(
            "document.getElementById('accepted').innerText.startsWith('Accepted: its usual score is 48.5 now')"
        )
        assert accepted == ["sport"]
        await send(70.0)
        await page.until("document.getElementById('accept').hidden && !document.getElementById('accepting').hidden")
        assert page.problems == []
