"""A running monitor whose configuration file is edited: what changes, what does not, and what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engines.base import EngineInfo, Precision
from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.app import ConfigSource, Monitor
from monitor.config import read_config
from monitor.config_checks import CHECKS
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.types import AlertEvent, StreamId, StreamState
from tests.monitor.config_edits import invalid_edit, line_of, valid_edit

VALID = int(os.environ.get("VQWATCH_CONFIG_VALID", "8"))
INVALID = int(os.environ.get("VQWATCH_CONFIG_INVALID", "6"))
SEED = int(os.environ.get("VQWATCH_CONFIG_SEED", "1"))
KEPT = StreamId("kept")

pytestmark = pytest.mark.timeout(120 + 4 * VALID)


class QuickEngine:
    """Features that are statistics of the pixels."""

    def __init__(self, feature_size: int) -> None:
        self.info = EngineInfo("quick", "1", "cpu", Precision.F32, feature_size, "quick@0")

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        means = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
        return np.repeat(means[:, None], self.info.feature_size, axis=1)

    def close(self) -> None:
        pass


class Operator:
    """Someone with an editor, and a running monitor that watches the file."""

    def __init__(self, file: Path, data: dict[str, Any]) -> None:
        self.file, self.data = file, data
        self.states: dict[StreamId, list[StreamState]] = {}
        self.alerts: list[AlertEvent] = []
        self.removed: list[StreamId] = []
        self.write(data)
        load = partial(read_config, file, None, checks=CHECKS)
        loaded = load()
        scoring = BundleScoring.of(load_bundle(bundles_folder() / BUNDLED))
        self.monitor = Monitor(
            loaded.config,
            scoring,
            QuickEngine(scoring.head.feature_size),
            on_state=lambda id_, state: self.states.setdefault(id_, []).append(state),
            on_alert=self.alerts.append,
            on_removed=self.removed.append,
            source=ConfigSource(load, loaded.files),
        )

    def write(self, data: dict[str, Any] | str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
        new.replace(self.file)

    async def edit(self, data: dict[str, Any] | str, *, ask: bool = True) -> bool:
        """Saves the file; whether it was taken."""
        reload = self.monitor._reload
        assert reload is not None
        before = reload.reading
        self.write(data)
        if ask:
            self.monitor.reload()
        async with asyncio.timeout(60):
            while reload.reading.applied + reload.reading.refused == before.applied + before.refused:
                await asyncio.sleep(0.01)
        return reload.reading.applied > before.applied

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.02)

    def scores(self, id_: str) -> list[StreamState]:
        return [state for state in self.states.get(StreamId(id_), []) if state.score is not None]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, clip_maker: Callable[..., Path]) -> str:
    return str(clip_maker(tmp_path_factory.mktemp("reload") / "clip.mp4", seconds=6.0, size=(320, 180)))


@pytest.fixture
def base(clip: str, tmp_path: Path) -> dict[str, Any]:
    return {
        "broker": {"url": "mqtt://127.0.0.1:1"},
        "http": {"enabled": False},
        "data_dir": str(tmp_path / "data"),
        "streams": [{"id": "kept", "url": clip, "loop": True}, {"id": "s0", "url": clip, "loop": True}],
    }


@asynccontextmanager
async def operating(tmp_path: Path, data: dict[str, Any]) -> AsyncIterator[Operator]:
    operator = Operator(tmp_path / "vqwatch.yaml", data)
    running = asyncio.create_task(operator.monitor.run())
    try:
        await operator.until(lambda: operator.scores("kept") or running.done())
        yield operator
    finally:
        operator.monitor.stop()
        await running


def untouched(operator: Operator, first: StreamState) -> None:
    """The stream that nobody edited went on as if nothing had happened."""
    states = [state for state in operator.states[KEPT] if state.seq >= first.seq]
    assert [state.seq for state in states] == list(range(first.seq, first.seq + len(states)))
    last = states[-1]
    assert (last.epoch, last.dropped) == (first.epoch, first.dropped)
    assert operator.monitor.streams[KEPT].reconnects == dict.fromkeys(operator.monitor.streams[KEPT].reconnects, 0)


async def test_streams_come_go_and_change_while_others_go_on(
    tmp_path: Path, base: dict[str, Any], clip: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vqwatch")
    async with operating(tmp_path, base) as operator:
        first = operator.scores("kept")[-1]
        streams = [base["streams"][0], {"id": "s1", "url": clip, "loop": True}]
        assert await operator.edit({**base, "streams": streams})
        assert set(operator.monitor.streams) == {"kept", "s1"}
        assert operator.removed == ["s0"]
        await operator.until(lambda: operator.scores("s1"))
        seq = operator.scores("s1")[-1].seq
        epoch = operator.scores("s1")[-1].epoch
        streams[1] = {**streams[1], "options": {"probesize": "70000"}}
        assert await operator.edit({**base, "streams": streams})
        await operator.until(lambda: operator.scores("s1") and operator.scores("s1")[-1].epoch > epoch)
        assert operator.scores("s1")[-1].seq > seq
        fixed = {"node": "n2", "engine": {"threads": 2}, "ingest": {"readers": "threads"}}
        assert await operator.edit({**base, **fixed, "streams": streams})
        assert operator.monitor._config.node == "vqwatch"
        assert operator.monitor._config.ingest.readers == "processes"
        untouched(operator, first)
    told = [record.getMessage() for record in caplog.records if record.name in ("vqwatch.config", "vqwatch.app")]
    assert "event=config_reloaded added=1 removed=1 reconnected=0 rules=0 outputs=-" in told
    assert "event=config_reloaded added=0 removed=0 reconnected=1 rules=0 outputs=-" in told
    assert (
        "event=config_needs_restart keys=node,engine.threads,ingest.readers these keep their values until a restart"
        in told
    )


async def test_a_saved_file_is_noticed_and_an_invalid_one_leaves_the_old_one_in_force(
    tmp_path: Path, base: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with operating(tmp_path, base) as operator:
        first = operator.scores("kept")[-1]
        before = operator.monitor._config
        broken = json.dumps({**base, "nodde": 1, "streams": [{**base["streams"][0], "profile": "none"}]}, indent=1)
        assert not await operator.edit(broken, ask=False)
        assert operator.monitor._config is before
        assert not await operator.edit("")
        assert not await operator.edit("streams: [")
        reload = operator.monitor._reload
        assert reload is not None
        assert not reload.reading.ok
        assert await operator.edit(base, ask=False)
        assert reload.reading.ok
        untouched(operator, first)
    told = [record.getMessage() for record in caplog.records if record.name == "vqwatch.config"]
    line = next(number for number, text in enumerate(broken.splitlines(), 1) if "nodde" in text)
    assert told[:2] == [
        f"event=config_invalid {operator.file}:{line}: nodde: unknown key",
        next(text for text in told if "streams.0.profile: unknown profile 'none'; there are none" in text),
    ]
    assert told[2] == "event=config_kept errors=2 the configuration before stays in force"
    assert any("nothing to watch" in text for text in told)
    assert any("not YAML" in text for text in told)


async def test_a_rule_keeps_its_alert_over_an_edit_and_what_goes_is_cleared(
    tmp_path: Path, base: dict[str, Any]
) -> None:
    """Numbers of a stream's events have no gap, whatever is edited, also where it goes and comes back."""
    rule = {"metric": "coverage", "raise": 2, "clear": 3, "raise_for": 0, "severity": "critical"}
    with_rule = {**base, "alerts": {"mine": rule}}
    async with operating(tmp_path, with_rule) as operator:

        def mine(stream: str) -> list[tuple[int, str, str]]:
            return [(e.seq, e.status, e.severity) for e in operator.alerts if e.stream == stream and e.rule == "mine"]

        await operator.until(lambda: mine("kept") and mine("s0"))
        softer = {**base, "alerts": {"mine": {**rule, "raise": 1.5, "clear": 2.5, "severity": "minor"}}}
        assert await operator.edit(softer)
        await asyncio.sleep(1.5)
        assert mine("kept") == [(1, "raised", "critical")]
        assert await operator.edit({**softer, "streams": base["streams"][:1]})
        assert mine("s0") == [(1, "raised", "critical"), (2, "cleared", "critical")]
        assert await operator.edit(softer)
        await operator.until(lambda: len(mine("s0")) == 3)
        assert mine("s0")[2] == (3, "raised", "minor")
        assert await operator.edit(base)
        assert mine("kept")[1:] == [(2, "cleared", "critical")]
        assert mine("s0")[3:] == [(4, "cleared", "minor")]


async def test_random_edits_touch_what_they_say_and_invalid_ones_nothing(
    tmp_path: Path, base: dict[str, Any], clip: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`make config-edits` makes a thousand valid ones and two hundred invalid ones."""
    random_ = random.Random(SEED)
    kinds = ["valid"] * VALID + ["invalid"] * INVALID
    random_.shuffle(kinds)
    async with operating(tmp_path, base) as operator:
        first = operator.scores("kept")[-1]
        data = base
        for kind in kinds:
            tasks = dict(operator.monitor.streams)
            if kind == "valid":
                new, touched = valid_edit(random_, data, clip)
                caplog.clear()
                assert await operator.edit(new), caplog.text
                data = new
                assert set(operator.monitor.streams) == {stream["id"] for stream in data["streams"]}
                same = {id_ for id_, task in operator.monitor.streams.items() if tasks.get(id_) is task}
                assert same >= set(tasks) - touched
            else:
                before = operator.monitor._config
                wrong_data, wrong = invalid_edit(random_, data)
                caplog.clear()
                assert not await operator.edit(wrong_data)
                assert operator.monitor._config is before
                assert operator.monitor.streams == tasks
                told = [r.getMessage() for r in caplog.records if "event=config_invalid" in r.getMessage()]
                text = operator.file.read_text()
                for key in wrong:
                    pattern = f"event=config_invalid {operator.file}:{line_of(text, key)}: {key}: "
                    assert [t for t in told if t.startswith(pattern)], (pattern, told)
            await asyncio.sleep(random_.random() * 0.1)
        assert await operator.edit(data)
        last = operator.states[KEPT][-1].seq
        await operator.until(lambda: operator.states[KEPT][-1].seq > last + 1)
        untouched(operator, first)
        kept = operator.states[KEPT][-1]
        print(
            f"{VALID} valid edits, {INVALID} invalid ones; the stream beside them: {kept.seq - first.seq} s,"
            f" {kept.samples - first.samples} samples scored, {kept.dropped - first.dropped} dropped"
        )
        assert len(operator.monitor._batcher._streams) - len(operator.monitor._roster.leaving) == len(data["streams"])
