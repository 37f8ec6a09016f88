"""The regressor and the command of the ChipQA baseline."""

from __future__ import annotations

import functools
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
pytest.importorskip("sklearn", reason="needs the train extra (scikit-learn)")

from training import __main__ as front  # noqa: E402
from training import chipqa_baseline  # noqa: E402
from training.chipqa_baseline import (  # noqa: E402
    cached_statistics,
    evaluate_split,
    predict_split,
    pristine_clips,
)
from training.chipqa_svr import COSTS, GAMMAS, ChipqaRegressor  # noqa: E402
from training.clips import Clip  # noqa: E402
from training.datasets import manifest  # noqa: E402
from training.errors import DataError, UsageError  # noqa: E402
from training.splits import split_groups  # noqa: E402

pytestmark = pytest.mark.train

HEIGHT, WIDTH = 96, 192
#: A corner of the published grid, so that tests are quick.
QUICK_GAMMAS = (1e-3, 1e-2)
QUICK_COSTS = (8.0, 64.0)
quick_regressor = functools.partial(ChipqaRegressor, gammas=QUICK_GAMMAS, costs=QUICK_COSTS)


def write_clips(folder: Path, contents: int = 5, versions: int = 3) -> Path:
    """Raw clips of five noisy frames; the more noise, the lower the score."""
    rng = np.random.default_rng(0)
    rows = ["file,score,content,width,height,fps,distortion"]
    for content in range(contents):
        base = 60 + 10 * content + 20 * np.sin(np.arange(WIDTH) / (5 + content))[None, :]
        for version in range(versions):
            sigma = 2.0 + 6 * version + rng.uniform(0, 2)
            data = bytearray()
            for _ in range(5):
                luma = base + sigma * rng.normal(size=(HEIGHT, WIDTH))
                data += np.clip(luma, 16, 235).astype(np.uint8).tobytes() + bytes([128]) * (HEIGHT * WIDTH // 2)
            name = f"c{content}_{version}.yuv"
            (folder / name).write_bytes(bytes(data))
            kind = "noise" if version else "clean"
            rows.append(f"{name},{80 - 2.5 * sigma},content{content},{WIDTH},{HEIGHT},25,{kind}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def test_the_command_reads_caches_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chipqa_baseline, "ChipqaRegressor", quick_regressor)
    scores = write_clips(tmp_path)
    arguments = ["chipqa", "--dataset", "manifest", "--scores", str(scores), "--videos", str(tmp_path)]
    arguments += ["--cache", str(tmp_path / "cache"), "--seeds", "1", "--jobs", "1"]
    assert front.main([*arguments, "--json"]) == 0
    first = capsys.readouterr()
    assert "15/15" in first.err
    figures = json.loads(first.out)["1"]
    assert figures["n"] == 3
    assert figures["srocc"] > 0.8
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 15

    def reread(*args: object, **kwargs: object) -> None:
        pytest.fail("a clip that is in the cache was read again")

    monkeypatch.setattr(chipqa_baseline, "clip_statistics", reread)
    assert front.main(arguments) == 0
    second = capsys.readouterr()
    assert f"SROCC  {figures['srocc']:.3f} over 1 splits" in second.out


def test_one_process_and_two_find_the_same_statistics(tmp_path: Path) -> None:
    clips = manifest(write_clips(tmp_path, contents=1, versions=2), tmp_path)
    one, two = (cached_statistics(clips, tmp_path / str(jobs), "cpu", jobs) for jobs in (1, 2))
    for a, b in zip(one, two, strict=True):
        for part in fields(a):
            np.testing.assert_allclose(getattr(a, part.name), getattr(b, part.name), rtol=1e-6, atol=1e-9)


def test_statistics_are_found_by_what_a_clip_holds_and_not_by_its_name(tmp_path: Path) -> None:
    folder = write_clips(tmp_path, contents=1, versions=2)
    clips = manifest(folder, tmp_path)
    first, second = cached_statistics(clips, tmp_path / "cache", "cpu")
    # The two clips change places under their old names.
    aside = tmp_path / "aside"
    clips[0].path.rename(aside)
    clips[1].path.rename(clips[0].path)
    aside.rename(clips[1].path)
    again = cached_statistics(clips, tmp_path / "cache", "cpu")
    np.testing.assert_array_equal(again[0].x1, second.x1)
    np.testing.assert_array_equal(again[1].x1, first.x1)
    assert not np.array_equal(first.x1, second.x1)


def test_every_clip_is_predicted_on_the_split_of_the_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chipqa_baseline, "ChipqaRegressor", quick_regressor)
    clips = manifest(write_clips(tmp_path), tmp_path)
    statistics = cached_statistics(clips, tmp_path / "cache", "cpu")
    sides, predicted = predict_split(clips, statistics, 1, "content")
    contents = [clip.content for clip in clips]
    assert sides == split_groups(contents, 1).indices(contents)
    assert predicted.shape == (15,)
    # What is learned may not depend on the test side's labels.
    other = [replace(clip, label=0.0) if i in sides["test"] else clip for i, clip in enumerate(clips)]
    np.testing.assert_array_equal(predict_split(other, statistics, 1, "content")[1], predicted)


def test_a_clip_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.yuv"
    path.write_bytes(bytes(HEIGHT * WIDTH * 3 // 2))
    clip = Clip(path, "c", "c", 1.0, None, WIDTH, HEIGHT, 25, "yuv420p")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"short\.yuv: 1 problem: at least 5"):
        cached_statistics([clip], tmp_path / "cache", "cpu")
    with pytest.raises(DataError, match="short: name used twice"):
        cached_statistics([clip, clip], tmp_path / "cache", "cpu")


def test_pristine_video_comes_from_the_training_part_alone() -> None:
    def clip(label: float, distortion: str | None) -> Clip:
        return Clip(Path(f"{label}.yuv"), "c", "c", label, distortion)

    marked = [clip(i, "clean" if i % 2 else "blur") for i in range(8)]
    assert pristine_clips(marked, [0, 1, 2, 3]) == [1, 3]
    unmarked = [clip(i, None) for i in range(8)]
    assert pristine_clips(unmarked, [0, 1, 2, 3]) == [3]
    assert pristine_clips(unmarked, [5, 4]) == [5]


def test_too_few_contents_are_a_usage_error() -> None:
    clips = [Clip(Path(f"{i}.yuv"), "one", "one", float(i)) for i in range(6)]
    with pytest.raises(UsageError, match="too few"):
        evaluate_split(clips, [], 0, "content")


def test_the_grid_is_the_published_one() -> None:
    assert GAMMAS == pytest.approx([10.0**k for k in range(-8, 2)])
    assert COSTS == tuple(2.0**k for k in range(1, 11))


def test_the_regressor_generalises_over_contents() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 12)) * np.logspace(-3, 3, 12)
    y = 50 + 10 * np.tanh(x[:, 2] / x[:, 2].std()) + x[:, 7] / x[:, 7].std()
    groups = [f"g{i // 6}" for i in range(90)]
    regressor = quick_regressor(x[:72], y[:72], groups[:72])
    predicted = regressor.predict(x[72:])
    assert np.corrcoef(predicted, y[72:])[0, 1] > 0.8
    assert regressor.gamma in QUICK_GAMMAS
    assert regressor.cost in QUICK_COSTS


def test_one_content_is_not_enough_for_folds() -> None:
    with pytest.raises(ValueError, match="two contents"):
        ChipqaRegressor(np.zeros((4, 3)), np.arange(4.0), ["a"] * 4)
