"""A user's ratings become a bundle's scale."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the train extra (scipy)")

from hypothesis import given
from hypothesis import strategies as st

from engines import load_bundle
from engines.bundle import BUNDLED, Bundle, bundles_folder
from monitor import cli
from training import __main__ as front
from training.calibration_fit import calibrated, calibration_of, fit_ratings, held_out, intervals_of
from training.errors import DataError
from training.metrics import Logistic4
from training.pooled_quality import pooled_quality

pytestmark = pytest.mark.train

BASE = bundles_folder() / BUNDLED


def with_points(curve: Logistic4) -> Bundle:
    base = load_bundle(BASE)
    manifest = base.manifest.model_copy(update={"calibration": calibration_of(curve)})
    return Bundle(base.path, manifest, base.head_arrays)


def write_ratings(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def predicted_rows(n: int = 40, contents: int = 10, rises: int = 1) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    quality = rng.uniform(0.25, 0.95, n)
    scores = np.clip(1 + 4 / (1 + np.exp(-rises * (quality - 0.6) / 0.12)) + rng.normal(0, 0.2, n), 1, 5)
    return [
        {
            "file": f"{i}.mp4",
            "score": f"{scores[i]:.3f}",
            "content": f"c{i % contents}",
            "predicted": repr(float(quality[i])),
        }
        for i in range(n)
    ]


def attempt(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Status, and what was told where it is one line of an error."""
    capsys.readouterr()
    status = front.main(["calibrate", *map(str, arguments)])
    captured = capsys.readouterr()
    if status:
        assert captured.out == ""
        assert captured.err.count("\n") == 1
    return status, captured.err if status else captured.out


@given(
    low=st.floats(-300, 80),
    span=st.floats(25, 1e6),
    centre=st.floats(-2, 3),
    width=st.floats(1e-3, 1e3),
)
def test_a_bundle_holds_the_curve_exactly_and_never_falls_or_leaves_its_range(
    low: float, span: float, centre: float, width: float
) -> None:
    curve = Logistic4(max(low + span, 20.0), low, centre, width)
    bundle = with_points(curve)
    quality = np.concatenate([np.linspace(-1, 2, 201), [-1e6, 1e6]])
    shown = np.array([bundle.calibrate(q) for q in quality])
    np.testing.assert_allclose(shown, calibrated(curve, quality), rtol=0, atol=1e-6)
    assert shown.min() >= 0
    assert shown.max() <= 100
    assert (np.diff(shown[:201]) >= 0).all()


def test_a_straight_line_through_ratings_is_held_too() -> None:
    """Its asymptotes lie at infinity, where the least is left of the precision."""
    quality = np.linspace(0.3, 0.7, 30)
    curve = fit_ratings(quality, 100 * quality)
    bundle = with_points(curve)
    assert [bundle.calibrate(q) for q in quality] == pytest.approx((100 * quality).tolist(), abs=0.05)
    assert bundle.calibrate(-5.0) == pytest.approx(max(0.0, calibrated(curve, np.array([-5.0]))[0]), abs=1e-3)


def test_figures_of_clips_left_out_have_not_seen_them() -> None:
    rng = np.random.default_rng(3)
    quality, shown = rng.uniform(0, 1, 60), rng.uniform(0, 100, 60)
    contents = [f"c{i // 4}" for i in range(60)]
    held = held_out(quality, shown, contents)
    assert held is not None
    assert held.how == "leave one content out"
    moved = shown.copy()
    moved[:4] = 100 - moved[:4]
    again = held_out(quality, moved, contents)
    assert again is not None
    np.testing.assert_array_equal(held.shown[:4], again.shown[:4])
    assert held_out(quality[:8], shown[:8], contents[:8]) is None
    many = held_out(quality, shown, [str(i) for i in range(60)])
    assert many is not None
    assert many.how == "5-fold by content"


def test_intervals_cover_nine_in_ten_and_need_enough_clips() -> None:
    rng = np.random.default_rng(4)
    contents = [f"c{i % 12}" for i in range(240)]
    covered = []
    quality = rng.uniform(0, 1, 480)
    shown = np.clip(100 * quality + rng.normal(0, 8, 480), 0, 100)
    held = held_out(quality[:240], shown[:240], contents)
    causes = ["blur"] * 60 + ["clean"] * 180
    found = intervals_of(held, shown[:240], contents, causes)
    curve = fit_ratings(quality[:240], shown[:240])
    covered = np.abs(calibrated(curve, quality[240:]) - shown[240:]) <= found["judder"]
    assert 0.84 < covered.mean() < 0.96
    assert found["blur"] != found["judder"] == intervals_of(held, shown[:240], contents, None)["blur"]
    assert intervals_of(held, shown[:240], ["a", "b", "c", "d"] * 60, causes) == {}
    assert intervals_of(None, shown[:240], contents, causes) == {}


def test_stated_predictions_make_a_bundle_that_shows_the_users_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_ratings(tmp_path / "mine.csv", predicted_rows())
    out = tmp_path / "Mine"
    before = {file.name: file.read_bytes() for file in BASE.iterdir()}
    status, text = attempt(capsys, labels, "--out", out, "--scale", "1,5", "--resamples", 50, "--json")
    assert status == 0
    report = json.loads(text)
    assert report == json.loads((out / "calibration.json").read_text())
    assert report["n"] == 40
    assert report["after_held_out"]["rmse"][0] < report["before"]["rmse"][0]
    assert report["after_held_out"]["rmse"][0] >= report["after_in_sample"]["rmse"][0]
    low, high = report["before"]["srocc"][1:]
    assert low < report["before"]["srocc"][0] < high
    bundle = load_bundle(out)
    assert (bundle.manifest.name, report["model"]) == ("mine", bundle.model_id)
    assert bundle.manifest.numeric_hash != load_bundle(BASE).manifest.numeric_hash
    assert "40 ratings of 10 contents (mine.csv): 1 is shown as 0 and 5 as 100" in bundle.manifest.description
    assert bundle.manifest.uncertainty["clean"] < load_bundle(BASE).manifest.uncertainty["clean"]
    for row in predicted_rows():
        rating = (float(str(row["score"])) - 1) / 4 * 100
        assert bundle.calibrate(float(str(row["predicted"]))) == pytest.approx(rating, abs=20)
    assert before == {file.name: file.read_bytes() for file in BASE.iterdir()}
    assert {file.name for file in out.iterdir()} == {*before, "calibration.json"}
    assert all((out / name).read_bytes() == data for name, data in before.items() if name != "manifest.json")
    status, text = attempt(capsys, labels, "--out", out, "--scale", "1,5")
    assert (status, "is there already" in text) == (2, True)


def test_what_cannot_be_fitted_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"

    def told(rows: list[dict[str, object]], *more: object) -> str:
        path = write_ratings(tmp_path / "labels.csv", rows)
        status, text = attempt(capsys, path, "--out", out, *(more or ("--scale", "1,5")))
        assert status == 1
        assert not out.exists()
        return text

    good = predicted_rows()
    assert "9 ratings, a fit needs 10" in told(good[:9])
    assert "ratings fall as the model's scores rise" in told(predicted_rows(rises=-1))
    assert "all ratings are 3" in told([row | {"score": 3} for row in good])
    assert "the same quality" in told([row | {"predicted": 0.5} for row in good])
    assert "--scale MIN,MAX says" in told(good, "--model", BUNDLED)
    assert "beyond --scale 2,5" in told(good, "--scale", "2,5")
    assert "quality from 0 to 1" in told([row | {"predicted": 80 + i} for i, row in enumerate(good)])
    text = told([good[0] | {"score": "good"}, good[1] | {"predicted": "nan"}, *good[2:], good[2]])
    assert "3 problems: line 2: score is 'good'" in text
    assert "2.mp4: rated 2 times" in text
    text = told([{"file": row["file"], "score": row["score"]} for row in good])
    assert "40 problems: 0.mp4: missing; " in text
    assert "39.mp4: missing" in text
    assert "no column 'score'" in told([{"file": "a"}])
    assert "no model named" in told(good, "--model", "absent")
    path = write_ratings(tmp_path / "labels.csv", good)
    assert attempt(capsys, path, "--out", out, "--scale", "1,5", "--name", "Not A Name")[0] == 2


def test_a_quality_that_does_not_vary_cannot_be_fitted() -> None:
    with pytest.raises(DataError, match="same quality"):
        fit_ratings(np.full(20, 0.4), np.linspace(0, 100, 20))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_monitor_shows_the_fit_of_clips_that_it_scored_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], clip_maker: Callable[..., Path]
) -> None:
    rows: list[dict[str, object]] = []
    for number, crf in enumerate((10, 20, 26, 30, 34, 38, 42, 45, 48, 51)):
        # A name that a log would take for a secret.
        name = f"-key={number}.mp4"
        clip_maker(tmp_path / name, seconds=1.0, size=(320 + 32 * (number % 2), 180), options={"crf": str(crf)})
        rows.append({"file": name, "score": 90 - 7 * number, "content": f"c{number % 5}"})
    assert cli.main(["score", "--json", "--threads", "1", *(str(tmp_path / str(row["file"])) for row in rows)]) == 0
    base = load_bundle(BASE)
    scores = [json.loads(line)["score"] for line in capsys.readouterr().out.splitlines()]
    # Ratings that agree with the model, whatever it is.
    ranks = np.argsort(np.argsort(scores))
    for row, rank in zip(rows, ranks.tolist(), strict=True):
        row["score"] = 15 + 8 * rank
    labels = write_ratings(tmp_path / "labels.csv", rows)
    out = tmp_path / "mine"
    status, text = attempt(capsys, labels, "--out", out, "--threads", 1, "--resamples", 50)
    assert status == 0, text
    assert "leave one content out" in text
    assert (
        cli.main(
            [
                "score",
                "--json",
                "--threads",
                "1",
                "--model",
                str(out),
                *(str(tmp_path / str(row["file"])) for row in rows),
            ]
        )
        == 0
    )
    shown = [json.loads(line)["score"] for line in capsys.readouterr().out.splitlines()]
    curve = Logistic4(**json.loads((out / "calibration.json").read_text())["logistic"])
    qualities, old = zip(*base.manifest.calibration.points, strict=True)
    quality = np.interp(scores, old, qualities)
    np.testing.assert_allclose(shown, calibrated(curve, quality), rtol=0, atol=1e-3)
    assert load_bundle(out).manifest.uncertainty == {}


@pytest.mark.slow
def test_files_that_cannot_be_scored_are_named_together(tmp_path: Path) -> None:
    files = [tmp_path / "torn.mp4", tmp_path / "text.mp4"]
    for file in files:
        file.write_bytes(b"no video")
    with pytest.raises(DataError, match=r"2 problems: torn\.mp4: .*; text\.mp4: ") as caught:
        pooled_quality(load_bundle(BASE), files, ("--threads", "1"))
    assert "000000" not in str(caught.value)
