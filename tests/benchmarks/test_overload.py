"""The benchmark of overload, very short and without any: what it says of a machine that holds all."""

from __future__ import annotations

import json

import pytest

from benchmarks import overload

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.realtime, pytest.mark.timeout(120)]


def test_a_machine_with_room_sheds_nothing_and_scores_all_alike(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"_SETTLE_S": 2.0, "_ADAPT_S": 6.0, "_DECLARE_S": 8.0}.items():
        monkeypatch.setattr(overload, name, seconds)
    overload.main(["--streams", "1", "--seconds", "4", "--size", "160x96", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["feeds"] == [1, 2]
    assert not found["sheds_before"]
    assert found["declared_s"] is None
    assert found["rate"] == pytest.approx(25, rel=0.1)
    assert found["unfairness"] < 0.1
    assert found["stale"] == 0
    assert found["recovered_s"] < 5
    text = overload.table(overload.Found(**found), "160x96")
    assert "| declared after | not in time |" in text
