"""A webhook against real receivers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from monitor.publish import name_lookup, webhook
from monitor.publish.name_lookup import NameLookup
from monitor.publish.signature import signature
from monitor.publish.templates import TEMPLATES
from monitor.publish.webhook import Webhook
from monitor.publish.wire import alert_payload
from monitor.types import AlertEvent, Severity, StreamId
from tests.monitor.publish.http_receivers import (
    CUT,
    ENDLESS_BODY,
    HALF_A_BODY,
    HALF_A_HEAD,
    HANG,
    NOT_HTTP,
    Receiver,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "webhooks.md"
NOW_S = 1_795_341_600.0


def raised(seq: int, stream: str = "cam") -> AlertEvent:
    return AlertEvent(f"{stream}-{seq}", seq, StreamId(stream), "lost", Severity.MAJOR, "raised", NOW_S)


def cleared(event: AlertEvent) -> AlertEvent:
    return replace(event, seq=event.seq + 1, status="cleared", cleared_at=NOW_S + 9)


@contextlib.asynccontextmanager
async def running(url: str, template: str = "vqwatch", **more: Any) -> AsyncIterator[Webhook]:
    hook = Webhook(
        "ops", url, TEMPLATES[template], "n1", **{"timeout_s": 30.0, "initial_s": 0.02, "cap_s": 0.05} | more
    )
    task = asyncio.create_task(hook.run())
    try:
        yield hook
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def settled(hook: Webhook) -> None:
    async with asyncio.timeout(50):
        while hook.counts.pending:
            await asyncio.sleep(0.01)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_each_event_arrives_in_order_whatever_the_receiver_does_and_always_under_the_same_id() -> None:
    events = [raised(1), cleared(raised(1)), raised(3), cleared(raised(3))]
    receiver = Receiver()
    receiver.plan.extend(
        [
            500,
            502,
            CUT,
            200,
            HALF_A_HEAD,
            429,
            web.Response(status=503, headers={"Retry-After": "0"}),
            204,
            NOT_HTTP,
            408,
        ]
    )
    done: list[AlertEvent] = []
    async with receiver.listening(), running(receiver.url, on_settled=done.append) as hook:
        for event in events:
            hook.offer(event)
        await receiver.until(4)
        await settled(hook)
        assert [request.body for request in receiver.taken] == [alert_payload(event) for event in events]
        # Nothing is asked of the receiver for an event before the one ahead of it was taken.
        asked = [request.delivery for request in receiver.asked]
        assert list(dict.fromkeys(asked)) == [f"{event.id}:{event.status}" for event in events]
        assert asked == sorted(asked, key=lambda id_: list(dict.fromkeys(asked)).index(id_))
        assert done == events
        assert (hook.counts.sent, hook.counts.failed, hook.counts.refused) == (4, 8, 0)
        assert hook.trouble is None
        assert {request.headers["Content-Type"] for request in receiver.asked} == {"application/json"}


async def test_a_receiver_that_hangs_is_given_up_in_time_and_holds_nobody_else_up() -> None:
    hung, sound = Receiver(), Receiver()
    hung.plan.extend([HANG] * 1000)
    async with (
        hung.listening(),
        sound.listening(),
        running(hung.url, timeout_s=0.2) as slow,
        running(sound.url) as fast,
    ):
        for seq in range(1, 21):
            slow.offer(raised(seq))
            fast.offer(raised(seq))
        await sound.until(20)
        await hung.until_asked(2)
        assert slow.trouble == "no answer within 0.2 s"
        assert slow.counts.pending == 20
        assert {request.delivery for request in hung.asked} == {"cam-1:raised"}
        hung.plan.clear()
        await settled(slow)
        # On a machine that is slow itself an answer may come too late, and its event twice.
        taken = list(dict.fromkeys(request.delivery for request in hung.taken))
        assert taken == [f"cam-{seq}:raised" for seq in range(1, 21)]


async def test_an_event_that_is_refused_for_good_is_logged_once_and_the_next_one_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = Receiver()
    receiver.plan.extend([410, 200, 404, 200])
    done: list[AlertEvent] = []
    events = [raised(seq) for seq in range(1, 5)]
    async with receiver.listening(), running(receiver.url, on_settled=done.append) as hook:
        for event in events:
            hook.offer(event)
        await receiver.until(2)
        await settled(hook)
        assert [request.delivery for request in receiver.asked] == [f"cam-{seq}:raised" for seq in range(1, 5)]
        assert hook.counts.refused == 2
    assert done == events
    gone, missing = errors(caplog)
    assert "webhook=ops event=webhook_refused stream=cam rule=lost status=raised id=cam-1" in gone
    assert "HTTP 410 (Gone)" in gone
    assert "HTTP 404 (Not Found)" in missing


async def test_an_outage_is_said_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    receiver = Receiver()
    async with receiver.listening():
        pass
    async with running(receiver.url) as hook:
        for seq in range(1, 4):
            hook.offer(raised(seq))
        async with asyncio.timeout(50):
            while hook.counts.failed < 5:
                await asyncio.sleep(0.01)
        assert hook.trouble == "connection refused"
        async with receiver.listening(receiver.port):
            await receiver.until(3)
            await settled(hook)
    told = [r.getMessage() for r in caplog.records if r.name == "vqwatch.webhook"]
    assert len([line for line in told if "event=webhook_failed" in line and "connection refused" in line]) == 1
    assert len([line for line in told if "event=webhook_recovered" in line]) == 1


async def test_a_retry_after_is_waited_for() -> None:
    receiver = Receiver()
    receiver.plan.append(web.Response(status=429, headers={"Retry-After": "1"}))
    async with receiver.listening(), running(receiver.url) as hook:
        began_s = time.monotonic()
        hook.offer(raised(1))
        await receiver.until_asked(1)
        hook.offer(raised(1, "other"))
        await receiver.until(2)
        assert time.monotonic() - began_s >= 1.0
        assert len(receiver.asked) == 3


async def test_redirects_are_followed_within_one_host_alone_with_the_body() -> None:
    receiver, elsewhere = Receiver(), Receiver()
    async with elsewhere.listening(), receiver.listening():
        receiver.plan.extend(
            [
                web.Response(status=307, headers={"Location": "/there/"}),
                200,
                web.Response(status=307, headers={"Location": elsewhere.url}),
                web.Response(status=301, headers={"Location": "/there/"}),
                *[web.Response(status=308, headers={"Location": "/round"}) for _ in range(4)],
                web.Response(status=308, headers={"Location": "http://[broken"}),
                200,
            ]
        )
        async with running(receiver.url) as hook:
            hook.offer(raised(1))
            await receiver.until(1)
            assert [request.path for request in receiver.asked] == ["/hook", "/there/"]
            assert receiver.taken[0].body == alert_payload(raised(1))
            hook.offer(raised(2))
            await receiver.until(2)
            assert hook.counts.failed == 4
        assert elsewhere.asked == []


async def test_the_body_of_an_answer_is_not_waited_for_nor_read_to_its_end() -> None:
    receiver = Receiver()
    receiver.plan.extend([ENDLESS_BODY, HALF_A_BODY])
    async with receiver.listening(), running(receiver.url) as hook:
        for seq in range(1, 4):
            hook.offer(raised(seq))
        await receiver.until(3)
        await settled(hook)
        # Its status had been the answer: none is sent twice.
        assert [request.delivery for request in receiver.asked] == [f"cam-{seq}:raised" for seq in range(1, 4)]


async def test_without_room_the_oldest_go_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    done: list[AlertEvent] = []
    hook = Webhook("ops", "http://127.0.0.1:1/", TEMPLATES["vqwatch"], "n1", max_waiting=5, on_settled=done.append)
    for seq in range(1, 13):
        hook.offer(raised(seq))
    assert (hook.counts.pending, hook.counts.lost) == (5, 7)
    assert [event.seq for event in done] == list(range(1, 8))
    assert len(errors(caplog)) == 1


async def test_an_alertmanager_is_told_of_what_is_up_until_it_clears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "REPEAT_S", 0.05)
    receiver = Receiver()
    old, new = raised(1, "old"), raised(1, "new")
    async with receiver.listening(), running(receiver.url, "alertmanager") as hook:
        hook.resume([old])
        hook.offer(new)
        await receiver.until(6)
        repeats = [json.loads(r.body) for r in receiver.taken if "X-Vqwatch-Delivery" not in r.headers]
        assert [alert["labels"]["stream"] for alert in repeats[-1]] == ["old", "new"]
        hook.offer(cleared(old))
        hook.offer(cleared(new))
        await settled(hook)
        asked = len(receiver.asked)
        await asyncio.sleep(0.3)
        assert len(receiver.asked) == asked


async def test_at_the_end_what_waits_is_sent_but_a_receiver_that_fails_is_not_waited_for() -> None:
    receiver, dead = Receiver(), Receiver()
    dead.plan.extend([500] * 1000)
    async with receiver.listening(), dead.listening(), running(receiver.url) as sound, running(dead.url) as ill:
        for seq in range(1, 6):
            sound.offer(raised(seq))
            ill.offer(raised(seq))
        await dead.until_asked(2)
        await asyncio.gather(sound.close(50), ill.close(50))
        assert len(receiver.taken) == 5
        assert ill.counts.pending == 5


async def test_a_receiver_that_hangs_at_the_end_is_left_at_the_deadline() -> None:
    receiver = Receiver()
    receiver.plan.append(HANG)
    async with receiver.listening(), running(receiver.url) as hook:
        hook.offer(raised(1))
        await receiver.until_asked(1)
        began_s = time.monotonic()
        await hook.close(0.1)
        assert time.monotonic() - began_s < 20
        assert hook.counts.pending == 1


@pytest.mark.parametrize("template", TEMPLATES)
async def test_credentials_go_to_the_receiver_and_nowhere_else(template: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    receiver = Receiver()
    redirect = web.Response(status=307, headers={"Location": "http://127.0.0.1:1/cAnArY7"})
    receiver.plan.extend([500, 429, CUT, HALF_A_HEAD, NOT_HTTP, redirect, HANG, 410, 200])
    async with receiver.listening():
        url = f"http://op:p%40cAnArY7@127.0.0.1:{receiver.port}/cAnArY7?token=cAnArY7"
        async with running(url, template, key=b"cAnArY7", headers={"X-Key": "cAnArY7"}, timeout_s=2.0) as hook:
            hook.offer(raised(1))
            hook.offer(cleared(raised(1)))
            await receiver.until(1)
            await settled(hook)
            troubles = repr(hook.trouble) + repr(hook.counts)
    for request in receiver.asked:
        assert request.path == "/cAnArY7?token=cAnArY7"
        assert request.headers["X-Key"] == "cAnArY7"
        assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"op:p@cAnArY7").decode()
        assert b"cAnArY7" not in request.body
    told = [r.getMessage() + str(r.exc_info) for r in caplog.records] + [troubles]
    assert len(told) > 6
    assert not any("cAnArY7" in line for line in told)


async def test_the_documented_example_verifies_what_is_sent() -> None:
    text = DOCUMENT.read_text()
    names: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, names)
    verified = names["verified"]
    receiver = Receiver()
    async with receiver.listening(), running(receiver.url, key="clé secrète".encode()) as hook:
        hook.offer(raised(1))
        await receiver.until(1)
    request = receiver.taken[0]
    assert verified("clé secrète", request.headers, request.body)
    assert not verified("another", request.headers, request.body)
    assert not verified("clé secrète", request.headers, request.body + b" ")
    later = request.headers | {"X-Vqwatch-Timestamp": str(int(request.headers["X-Vqwatch-Timestamp"]) + 1)}
    assert not verified("clé secrète", later, request.body)
    old = {"X-Vqwatch-Timestamp": "1795341600"}
    old["X-Vqwatch-Signature"] = signature(b"correct horse", "1795341600", b'{"v":1}')
    assert not verified("correct horse", old, b'{"v":1}')
    assert verified("correct horse", old, b'{"v":1}', tolerance_s=1e12)
    assert not verified("correct horse", {}, b'{"v":1}')
    assert old["X-Vqwatch-Signature"] in text


async def test_without_a_key_nothing_is_signed() -> None:
    receiver = Receiver()
    async with receiver.listening(), running(receiver.url, clock=lambda: NOW_S) as hook:
        hook.offer(raised(1))
        await receiver.until(1)
    assert "X-Vqwatch-Signature" not in receiver.taken[0].headers
    assert receiver.taken[0].headers["X-Vqwatch-Timestamp"] == "1795341600"


async def test_a_name_server_that_does_not_answer_takes_one_thread_and_none_of_asyncios(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = threading.Event()
    calls: list[str] = []

    def hang(host: str, *_: object) -> list[object]:
        calls.append(host)
        answer.wait(50)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(name_lookup.socket, "getaddrinfo", hang)
    lookup = NameLookup()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await lookup.resolve("nowhere.example", 80)
    assert calls == ["nowhere.example"]
    waiting = asyncio.create_task(lookup.resolve("nowhere.example", 80))
    await asyncio.sleep(0)
    answer.set()
    assert [found["host"] for found in await waiting] == ["127.0.0.1"]


async def test_a_name_that_is_not_known_is_said_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str, *_: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known")

    monkeypatch.setattr(name_lookup.socket, "getaddrinfo", fail)
    async with running("http://nowhere.example/cAnArY7") as hook:
        hook.offer(raised(1))
        async with asyncio.timeout(50):
            while hook.counts.failed < 2:
                await asyncio.sleep(0.01)
        assert hook.trouble == "its name is not known"


@pytest.mark.parametrize("url", ["ftp://host/", "http://", "nowhere", "http://host:port/"])
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Webhook("ops", url, TEMPLATES["vqwatch"], "n1")
