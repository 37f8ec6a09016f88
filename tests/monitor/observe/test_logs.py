from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from monitor.ingest.redact import redact
from monitor.observe.logs import set_up_logging

log = logging.getLogger("vqwatch.stream")

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Lines on stderr since the last call; the logging of pytest is put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("vqwatch")
    before = root.handlers[:], root.level, ours.level

    def read() -> list[str]:
        return capsys.readouterr().err.splitlines()

    yield read
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def test_a_text_line_has_utc_level_and_the_fields_of_its_template(lines: Lines) -> None:
    set_up_logging()
    log.warning("stream=%s event=lost code=%s suppressed=%d %s", "cam1", "auth", 3, "password = wrong")
    (line,) = lines()
    moment, rest = line.split(" ", 1)
    assert moment.endswith("Z")
    assert moment[10] == "T"
    assert rest == "WARNING vqwatch.stream stream=cam1 event=lost code=auth suppressed=3 password = wrong"


def test_a_json_line_has_the_fields_as_keys_numbers_as_numbers_and_no_unknown_ones(lines: Lines) -> None:
    set_up_logging(as_json=True)
    log.info("stream=%s event=alert_%s value=%s cause=%s lag=%.2f size=%dx%d", "cam1", "raised", 16.5, "-", 0.126, 4, 3)
    (line,) = lines()
    found = json.loads(line)
    assert found.pop("ts").endswith("Z")
    assert found == {
        "level": "info", "logger": "vqwatch.stream", "stream": "cam1", "event": "alert_raised", "value": 16.5,
        "lag": 0.13, "size": "4x3",
    }  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_feed_says_can_neither_start_a_line_nor_make_a_field(lines: Lines, as_json: bool) -> None:
    set_up_logging(as_json=as_json)
    log.warning("stream=%s event=lost file=%s %s", "cam1", "/a b/event=x", "no\n2026 ERROR level=fake\x1b[31m 50 %d")
    (line,) = lines()
    if as_json:
        found = json.loads(line)
        assert (found["level"], found["event"], found["file"]) == ("warning", "lost", "/a b/event=x")
        assert found["msg"] == r"no\n2026 ERROR level=fake\x1b[31m 50 %d"
    else:
        assert line.endswith(r'event=lost file="/a b/event=x" no\n2026 ERROR level=fake\x1b[31m 50 %d')


@pytest.mark.parametrize("as_json", [False, True])
def test_lines_of_others_and_without_fields_are_told_as_they_are(lines: Lines, as_json: bool) -> None:
    set_up_logging(as_json=as_json)
    logging.getLogger("asyncio").warning("Task took %.1f s: 100%%", 2.0)
    logging.getLogger("asyncio").warning("level=%s of 100 %%", "high")
    logging.getLogger("asyncio").warning("free=50% of it")
    logging.getLogger("asyncio").info("not told")
    found = lines()
    if as_json:
        assert [json.loads(line).get("msg") for line in found] == [
            "Task took 2.0 s: 100%", "level=high of 100 %", "of it",
        ]  # fmt: skip
        assert json.loads(found[2])["free"] == "50%"
        assert {json.loads(line)["level"] for line in found} == {"warning"}
    else:
        assert [line.split(" ", 2)[2] for line in found] == [
            "asyncio Task took 2.0 s: 100%", "asyncio level=high of 100 %", "asyncio free=50% of it",
        ]  # fmt: skip


@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_are_cut_from_values_text_and_tracebacks_whoever_logs_them(lines: Lines, as_json: bool) -> None:
    set_up_logging(as_json=as_json, clean=redact)
    url = "rtsp://op:hunter2@10.0.0.1/live?token=hunter2"
    log.warning("stream=%s event=lost code=%s url=%s cannot read %s", "cam1", "auth", url, url)
    try:
        raise OSError(f"cannot open {url}")
    except OSError:
        log.exception("stream=%s event=bug", "cam1")
    logging.getLogger("paho").error("refused: mqtt://op:hunter2@broker")
    text = "\n".join(lines())
    assert "hunter2" not in text
    assert "10.0.0.1/live" in text
    assert "Traceback" in text
    assert ('"code": "auth"' if as_json else "code=auth") in text


def test_a_traceback_is_one_line_in_json(lines: Lines) -> None:
    set_up_logging(as_json=True)
    try:
        raise ZeroDivisionError("a defect")
    except ZeroDivisionError as error:
        log.error("stream=%s event=bug suppressed=%d", "cam1", 0, exc_info=error)
    (line,) = lines()
    found = json.loads(line)
    assert (found["event"], found["suppressed"]) == ("bug", 0)
    assert found["traceback"].endswith("ZeroDivisionError: a defect")


def test_levels_follow_verbose_and_quiet(lines: Lines) -> None:
    for options, told in (({}, 2), ({"verbose": True}, 3), ({"quiet": True}, 1)):
        set_up_logging(**options)
        log.debug("event=a")
        log.info("event=b")
        log.warning("event=c")
        assert len(lines()) == told
