from __future__ import annotations

import gzip
import logging
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from monitor.errors import MonitorError, UsageError
from monitor.types import HistoryQuery, Problem, StreamId
from monitor.web.pages import load_pages
from monitor.web.server import DashboardServer, WebSocketBroker


def schema(name: str) -> str:
    return {"state": '{"title": "Stream state"}'}[name]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def dashboard(**options: Any) -> DashboardServer:
    return DashboardServer(port=0, **({"node": "studio-1", "websocket": 9001, "schema": schema} | options))


async def test_page_and_everything_it_names_is_served_without_a_word_from_elsewhere(
    client: aiohttp.ClientSession,
) -> None:
    async with dashboard() as server:
        async with client.get(server.url) as answer:
            assert answer.status == 200
            assert answer.content_type == "text/html"
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
            page = await answer.text()
        names = re.findall(r'(?:src|href)="([^"#]+)"', page)
        assert "/static/app.js" in names
        for name in names:
            assert name.startswith("/static/"), name
            async with client.get(server.url + name[1:]) as answer:
                assert answer.status == 200, name
                assert await answer.read()
    assert "<script>" not in page
    assert "style=" not in page


async def test_modules_that_scripts_import_exist_and_are_scripts(client: aiohttp.ClientSession) -> None:
    own = {path: page for path, page in load_pages().items() if re.fullmatch(r"\w+\.js", path)}
    imported = {name for page in own.values() for name in re.findall(r'from "\./(\w+\.js)"', page.body.decode())}
    assert len(imported) >= 4
    assert imported <= own.keys()
    assert {own[name].content_type for name in imported} == {"text/javascript"}


def test_the_vendored_client_comes_with_its_licence() -> None:
    pages = load_pages()
    assert b"MIT License" in pages["vendor/mqtt.LICENSE.md"].body
    assert len(pages["vendor/mqtt.min.js"].body) > 100_000


async def test_big_files_travel_compressed_where_the_browser_takes_it(client: aiohttp.ClientSession) -> None:
    async with dashboard() as server:
        address = f"{server.url}static/vendor/mqtt.min.js"
        async with client.get(address, headers={"Accept-Encoding": "gzip"}) as packed:
            assert packed.headers["Content-Encoding"] == "gzip"
            small = int(packed.headers["Content-Length"])
            assert b"mqtt" in await packed.read()
        async with client.get(address, headers={"Accept-Encoding": "identity"}) as plain:
            assert "Content-Encoding" not in plain.headers
            assert len(await plain.read()) > 2 * small


async def test_an_unchanged_file_is_not_sent_again(client: aiohttp.ClientSession) -> None:
    async with dashboard() as server:
        async with client.get(f"{server.url}static/app.js") as first:
            tag = first.headers["ETag"]
        async with client.get(f"{server.url}static/app.js", headers={"If-None-Match": tag}) as second:
            assert second.status == 304
            assert await second.read() == b""


@pytest.mark.parametrize(
    "path", ["static/../server.py", "static/%2e%2e/server.py", "static//etc/passwd", "static/none.js"]
)
async def test_nothing_outside_the_static_folder_is_served(client: aiohttp.ClientSession, path: str) -> None:
    async with (
        dashboard() as server,
        client.get(URL(server.url + path, encoded=True)) as answer,
    ):
        assert answer.status == 404


@pytest.mark.parametrize(
    ("websocket", "field", "value"),
    [
        (9001, "ws_port", 9001),
        ("wss://tv.example/mqtt", "ws_url", "wss://tv.example/mqtt"),
        (lambda: 9123, "ws_port", 9123),
    ],
)
async def test_config_tells_the_page_its_node_topics_and_broker(
    client: aiohttp.ClientSession, websocket: Any, field: str, value: WebSocketBroker
) -> None:
    async with (
        dashboard(websocket=websocket) as server,
        client.get(f"{server.url}config.json") as answer,
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        assert await answer.json() == {
            "node": "studio-1",
            "topic_prefix": "vqwatch/studio-1",
            "stale_after_s": 5.0,
            field: value,
        }


async def test_config_leaves_the_broker_out_while_none_is_known(client: aiohttp.ClientSession) -> None:
    async with (
        dashboard(websocket=lambda: None) as server,
        client.get(f"{server.url}config.json") as answer,
    ):
        assert not {"ws_port", "ws_url"} & set(await answer.json())


@pytest.mark.parametrize("secret", ["wss://user:hunter2@tv.example/", "wss://hunter2@tv.example/"])
async def test_credentials_of_the_broker_never_reach_the_page(
    client: aiohttp.ClientSession, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match="no credentials") as refused:
        dashboard(websocket=secret)
    assert "hunter2" not in str(refused.value)
    async with (
        dashboard(websocket=lambda: secret) as server,
        client.get(f"{server.url}config.json") as answer,
    ):
        assert "hunter2" not in await answer.text()
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("broker", [0, 70_000, "http://tv.example", "tv.example:9001", "ws://"])
def test_what_is_no_websocket_broker_is_refused(broker: WebSocketBroker) -> None:
    with pytest.raises(UsageError, match="WebSocket"):
        dashboard(websocket=broker)


@pytest.mark.parametrize("name", ["livez", "readyz"])
async def test_health_checks_say_ok_then_why_not(client: aiohttp.ClientSession, name: str) -> None:
    problems: list[Problem] = []
    async with dashboard(**{name: lambda: problems}) as server:
        async with client.get(server.url + name) as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
            assert answer.headers["Cache-Control"] == "no-store"
        problems += [Problem("broker", "auth", "it refuses the credentials"), Problem("engine", "failed", "no device")]
        async with client.get(server.url + name) as answer:
            assert answer.status == 503
            assert await answer.json() == {
                "status": "failing",
                "reason": "broker: it refuses the credentials; engine: no device",
                "problems": [
                    {"part": "broker", "code": "auth", "reason": "it refuses the credentials"},
                    {"part": "engine", "code": "failed", "reason": "no device"},
                ],
            }
        other = "readyz" if name == "livez" else "livez"
        async with client.get(server.url + other) as answer:
            assert answer.status == 200


async def test_a_check_that_breaks_fails_the_probe_and_is_logged(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> list[Problem]:
        raise RuntimeError("no such thing")

    async with dashboard(readyz=broken) as server, client.get(f"{server.url}readyz") as answer:
        assert answer.status == 503
    assert "no such thing" in caplog.text


async def test_metrics_are_served_as_asked_for_and_packed_where_the_scraper_takes_it(
    client: aiohttp.ClientSession,
) -> None:
    asked: list[tuple[str, bool]] = []

    async def metrics(accept: str, packed: bool) -> tuple[bytes, str]:
        asked.append((accept, packed))
        return gzip.compress(b"a 1\n") if packed else b"a 1\n", "text/plain; version=0.0.4; charset=utf-8"

    async with dashboard(metrics=metrics) as server:
        for accept, encoding in (("application/openmetrics-text", "gzip"), ("*/*", "identity")):
            headers = {"Accept": accept, "Accept-Encoding": encoding}
            async with client.get(f"{server.url}metrics", headers=headers) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
                assert answer.headers["Cache-Control"] == "no-store"
                assert await answer.text() == "a 1\n"
    assert asked == [("application/openmetrics-text", True), ("*/*", False)]


async def test_without_metrics_there_are_none(client: aiohttp.ClientSession) -> None:
    async with dashboard() as server, client.get(f"{server.url}metrics") as answer:
        assert answer.status == 404


async def test_schemas_are_served_by_name(client: aiohttp.ClientSession) -> None:
    async with dashboard() as server:
        async with client.get(f"{server.url}schema/state.json") as answer:
            assert await answer.json(content_type="application/schema+json") == {"title": "Stream state"}
        async with client.get(f"{server.url}schema/nothing.json") as answer:
            assert answer.status == 404


async def test_writing_is_not_allowed(client: aiohttp.ClientSession) -> None:
    async with dashboard() as server, client.post(f"{server.url}config.json") as answer:
        assert answer.status == 405


async def test_a_port_in_use_is_one_line_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MonitorError) as refused:
            async with DashboardServer(port=port, node="n", websocket=9001):
                pass
    assert str(refused.value) == f"port {port} is in use: choose another with --http-port"


async def test_an_address_that_is_not_this_machines_is_one_line() -> None:
    with pytest.raises(MonitorError, match=r"^the dashboard cannot listen on 192\.0\.2\.1 port \d+ .*: \w[^\n]*$"):
        async with DashboardServer("192.0.2.1", 0, node="n", websocket=9001):
            pass


async def test_leaving_frees_the_port_though_a_browser_stays_connected(client: aiohttp.ClientSession) -> None:
    async with dashboard() as server:
        async with client.get(f"{server.url}livez") as answer:
            assert answer.status == 200
    async with DashboardServer(port=server.port, node="n", websocket=9001) as second:
        assert second.port == server.port


async def test_history_is_asked_with_what_the_url_says(client: aiohttp.ClientSession) -> None:
    asked: list[HistoryQuery] = []

    async def history(query: HistoryQuery) -> dict[str, dict[str, list[float | str | None]]]:
        asked.append(query)
        return {"cam1": {"ts": [1.0], "score": [None]}}

    async with dashboard(history=history, clock=lambda: 1_800_000_000.0) as server:
        async with client.get(f"{server.url}api/history") as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-store"
            assert await answer.json() == {
                "v": 1,
                "ts": 1_800_000_000_000,
                "resolution": "1s",
                "streams": {"cam1": {"ts": [1.0], "score": [None]}},
            }
        wanted = "stream=a,b&from=2027-01-15T00:00:00Z&to=1h&resolution=1m&fields=drop,cause,drop"
        async with client.get(f"{server.url}api/history?{wanted}") as answer:
            assert (answer.status, (await answer.json())["resolution"]) == (200, "1m")
        async with client.get(f"{server.url}config.json") as answer:
            assert (await answer.json())["history"] is True
    assert asked == [
        HistoryQuery((), 1_799_999_880_000, 1_800_000_000_000, False, ("score",)),
        HistoryQuery((StreamId("a"), StreamId("b")), 1_799_971_200_000, 1_799_996_400_000, True, ("drop", "cause")),
    ]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("from=soon", "from: not a moment: 'soon'"),
        ("from=1h&to=2h", "to: lies before from"),
        ("resolution=5s", "resolution: must be 1s or 1m, got '5s'"),
        ("form=1h", "unknown parameters: form"),
    ],
)
async def test_a_wrong_question_to_the_history_is_answered_with_what_is_wrong(
    client: aiohttp.ClientSession, asked: str, said: str
) -> None:
    async def history(query: HistoryQuery) -> dict[str, dict[str, list[float | str | None]]]:
        raise AssertionError(query)

    async with dashboard(history=history) as server, client.get(f"{server.url}api/history?{asked}") as answer:
        assert answer.status == 400
        assert said in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("error", "status"), [(UsageError("no history of: x"), 400), (MonitorError("/secret/history.db: damaged"), 503)]
)
async def test_a_history_that_cannot_answer_says_why_without_paths(
    client: aiohttp.ClientSession, error: Exception, status: int
) -> None:
    async def history(query: HistoryQuery) -> dict[str, dict[str, list[float | str | None]]]:
        raise error

    async with dashboard(history=history) as server, client.get(f"{server.url}api/history") as answer:
        assert answer.status == status
        assert "secret" not in await answer.text()


async def test_without_a_history_there_is_none(client: aiohttp.ClientSession) -> None:
    async with dashboard() as server:
        async with client.get(f"{server.url}api/history") as answer:
            assert answer.status == 404
            assert "data_dir" in (await answer.json())["error"]
        async with client.get(f"{server.url}config.json") as answer:
            assert "history" not in await answer.json()


class Evidence:
    """Evidence of one alert."""

    async def recent(self, count: int) -> list[dict[str, Any]]:
        return [{"id": "a", "asked": count}]

    async def document(self, id_: str) -> dict[str, Any] | None:
        return {"v": 1, "metric": "drop"} if id_ == "a" else None

    async def still(self, id_: str) -> bytes | None:
        return b"\xff\xd8" if id_ == "a" else None


async def test_evidence_of_alerts_is_served_and_what_is_not_kept_is_not_found(client: aiohttp.ClientSession) -> None:
    async with dashboard(evidence=Evidence()) as server:
        async with client.get(f"{server.url}api/alerts/a/evidence") as answer:
            assert await answer.json() == {"v": 1, "metric": "drop"}
            assert answer.headers["Cache-Control"] == "no-store"
        async with client.get(f"{server.url}api/alerts/a/still.jpg") as answer:
            assert (answer.content_type, await answer.read()) == ("image/jpeg", b"\xff\xd8")
        async with client.get(f"{server.url}api/alerts?limit=7") as answer:
            assert await answer.json() == {"v": 1, "alerts": [{"id": "a", "asked": 7}]}
        async with client.get(f"{server.url}config.json") as answer:
            assert (await answer.json())["evidence"] is True
        missing = {"api/alerts/b/evidence": 404, "api/alerts/b/still.jpg": 404, "api/alerts?limit=0": 400}
        for path, status in missing.items():
            async with client.get(server.url + path) as answer:
                assert answer.status == status, path
    async with dashboard() as server:
        for path in ("api/alerts", "api/alerts/a/evidence", "api/alerts/a/still.jpg"):
            async with client.get(server.url + path) as answer:
                assert answer.status == 404, path
        async with client.get(f"{server.url}config.json") as answer:
            assert "evidence" not in await answer.json()


async def test_a_level_is_accepted_by_who_may_and_not_by_the_page_of_another_site(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    accepted: list[str] = []

    def accept(stream: str) -> float:
        if stream == "new":
            raise MonitorError("it has no healthy seconds to go by yet")
        accepted.append({"cam1": "cam1"}[stream])
        return 61.238

    async def ask(url: str, stream: str = "cam1", **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with client.post(f"{url}api/streams/{stream}/accept", headers=named) as answer:
            return answer.status, await answer.json()

    caplog.set_level(logging.INFO, "vqwatch.web")
    async with dashboard(accept=accept) as server, dashboard() as closed:
        own = f"http://127.0.0.1:{server.port}"
        assert await ask(server.url) == (200, {"v": 1, "stream": "cam1", "baseline": 61.24})
        assert (await ask(server.url, Origin=own))[0] == 200
        assert (await ask(server.url, Origin="https://monitor.example", Sec_Fetch_Site="same-origin"))[0] == 200
        for headers in ({"Origin": "https://evil.example"}, {"Origin": own, "Sec_Fetch_Site": "cross-site"}):
            assert await ask(server.url, **headers) == (403, {"error": "asked by the page of another site"})
        assert await ask(server.url, "cam2") == (404, {"error": "no such stream is watched"})
        assert await ask(server.url, "new") == (409, {"error": "it has no healthy seconds to go by yet"})
        assert (await ask(closed.url))[0] == 403
        async with client.get(f"{server.url}api/streams/cam1/accept") as answer:
            assert answer.status == 405
        async with client.get(f"{server.url}config.json") as told, client.get(f"{closed.url}config.json") as hidden:
            assert (await told.json())["accept"] is True
            assert "accept" not in await hidden.json()
    assert accepted == ["cam1"] * 3
    told_lines = [record.getMessage() for record in caplog.records]
    assert told_lines == ["stream=cam1 event=level_accepted baseline=61.2 by=127.0.0.1"] * 3
