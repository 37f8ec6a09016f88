from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the train extra (scipy)")

from training.__main__ import main
from training.clips import Clip
from training.errors import DataError
from training.rated_set import wrap_raw

pytestmark = [pytest.mark.train, pytest.mark.timeout(240)]

CONTENTS = ("Kickoffp1_1080_30fps", "crowdgreen_1080_25fps", "Discus_1_1080_30fps")
FRAMES = 15


def write_raw(path: Path, height: int, frames: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    width = height * 16 // 9
    ramp = np.linspace(40, 200, width)[None] + 20 * np.sin(np.linspace(0, 40, height))[:, None]
    with path.open("wb") as file:
        for t in range(frames):
            luma = np.roll(ramp, 4 * t, 1) + rng.normal(0, noise, (height, width))
            file.write(np.clip(luma, 16, 235).astype(np.uint8).tobytes())
            file.write(np.full(luma.size // 2, 128, np.uint8).tobytes())


@pytest.fixture
def live_apv(tmp_path: Path) -> tuple[Path, Path]:
    """Two versions of three contents, named and rated as in the published set; 270 MB, gone with the test."""
    videos = tmp_path / "videos"
    videos.mkdir()
    rows = ["video,distortion,distortionType,resolution,MOS,DMOS"]
    for number, content in enumerate(CONTENTS):
        for letter, word, noise, rating in (("o", "original", 0.5, 80), ("c", "compression", 25, 40)):
            write_raw(videos / f"{content}_{letter}.yuv", 1080, FRAMES, noise, number)
            rows.append(f"{content}_{letter}.yuv,{letter},{word},1080p,{rating + number},0")
    scores = tmp_path / "scores.csv"
    scores.write_text("\n".join(rows) + "\n")
    return scores, videos


def test_a_wrapped_raw_clip_has_the_same_pictures_size_and_rate(tmp_path: Path) -> None:
    raw = tmp_path / "a.yuv"
    write_raw(raw, 36, 3, 5, 0)
    clip = Clip(raw, "a", "a", 50, width=64, height=36, fps=Fraction(30000, 1001))
    with av.open(str(wrap_raw(clip, tmp_path))) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(30000, 1001)
        frames = [frame.to_ndarray() for frame in container.decode(stream)]
    np.testing.assert_array_equal(np.stack(frames).ravel(), np.frombuffer(raw.read_bytes(), np.uint8))


def test_a_raw_clip_of_unknown_rate_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "a.yuv"
    write_raw(raw, 36, 1, 5, 0)
    with pytest.raises(DataError, match="needs width, height and fps"):
        wrap_raw(Clip(raw, "a", "a", 50, width=64, height=36), tmp_path)


def test_live_apv_is_scored_as_it_is_and_with_its_scale_fitted(
    live_apv: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, videos = live_apv
    out = tmp_path / "out"
    arguments = ["rated", "--dataset", "live-apv", "--scores", str(scores), "--videos", str(videos), "--out", str(out)]
    assert main([*arguments, "--resamples", "50", "--threads", "1"]) == 0
    report = json.loads((out / "rated.json").read_text())
    assert report["clips"] == 6
    assert report["stems"] == 3
    assert set(report["agreement"]) == {"as it is", "scale fitted, leave one content out"}
    # Moving ramps are no content that a model knows: what it says of them is not the point here.
    assert report["versions of one content in the right order"]["pairs"] == 3
    assert {kind: row["clips"] for kind, row in report["distortions"].items()} == {"clean": 3, "compression": 3}
    assert len((out / "rated.csv").read_text().splitlines()) == 7
    assert "| as it is |" in capsys.readouterr().out
    assert not list(videos.glob("*.y4m"))
    for file in videos.iterdir():
        file.unlink()
