"""Training material: what a group file holds, and that what it claims can be seen."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
from PIL import Image

from monitor.core.side_channel import SIDE_NAMES
from monitor.types import CAUSES
from training import synthesis, synthesise
from training.benign import LOOKS, VARIANTS, Tick, benign_clip, with_look
from training.distortions import distort
from training.errors import UsageError
from training.pictures import Picture
from training.sources import Content
from training.synthesis import DISTORTED, LADDER_FPS, MIXED, make_group, rate_ticks
from training.trunk_pictures import make_pictures

pytestmark = pytest.mark.train

#: Pictures of a clip, in place of 100: a second.
LENGTH = 25


@pytest.fixture(autouse=True)
def _short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "CLIP_LENGTH", LENGTH)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> list[Content]:
    folder = tmp_path_factory.mktemp("stills")
    contents = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        spectrum = rng.normal(size=(420, 720)) + 1j * rng.normal(size=(420, 720))
        fy, fx = np.fft.fftfreq(420)[:, None], np.fft.fftfreq(720)[None]
        field = np.real(np.fft.ifft2(spectrum / (np.hypot(fy, fx) + 1e-3) ** 1.2))
        field = (field - field.min()) / np.ptp(field)
        path = folder / f"{'abc'[seed]}.png"
        Image.fromarray((np.stack([field, field, 1 - field], axis=-1) * 220 + 18).astype(np.uint8)).save(path)
        contents.append(Content(path, path.stem, 720, 420))
    return contents


def read(file: Path) -> tuple[list[dict[str, object]], dict[str, np.ndarray]]:
    with np.load(file) as data:
        return json.loads(str(data["facts"])), {name: data[name] for name in ("y", "uv", "side")}


def test_a_group_is_one_content_clean_benign_and_at_five_levels(stills: list[Content], tmp_path: Path) -> None:
    name = make_group(stills[0], stills, "blur", tmp_path, 3)
    facts, arrays = read(tmp_path / name)
    assert [(f["kind"], f["level"]) for f in facts] == [("clean", 0)] * 2 + [("blur", n) for n in range(1, 6)]
    assert facts[0]["variant"] == "plain"
    assert facts[1]["variant"] in VARIANTS[1:]
    assert len({f["content"] for f in facts}) == 1
    assert arrays["y"].shape == (7, LENGTH, 128, 128)
    assert arrays["uv"].shape == (7, LENGTH, 2, 64, 64)
    assert arrays["side"].shape == (7, LENGTH, len(SIDE_NAMES))
    with np.load(tmp_path / name) as data:
        assert [data[f"side_{fps:g}"].shape[1] for fps in LADDER_FPS] == [20, 13, 5]
    ssim = [f["ssim_db"] for f in facts[2:]]
    assert ssim == sorted(ssim, reverse=True)


def test_mixtures_are_of_what_can_be_named_alone() -> None:
    drawn = [synthesis._plan(MIXED, np.random.default_rng(seed))[0] for seed in range(300)]
    assert {worst for worst, _, _ in drawn} == {second for _, second, _ in drawn} == set(DISTORTED)


def test_levels_of_a_group_differ_in_strength_alone(
    stills: list[Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def spy(pictures: Iterable[Picture], kind: str, level: float, *, seed: np.random.Generator, fps: float) -> object:
        drawn.append((kind, level, seed.bit_generator.state["state"]["state"]))
        return distort(pictures, kind, level, seed=seed, fps=fps)

    monkeypatch.setattr(synthesis, "distort", spy)
    make_group(stills[0], stills, "flicker", tmp_path, 4)
    make_group(stills[1], stills, "flicker", tmp_path, 5)
    assert [level for _, level, _ in drawn] == [1, 2, 3, 4, 5] * 2
    assert len({state for _, _, state in drawn[:5]}) == len({state for _, _, state in drawn[5:]}) == 1
    assert drawn[0][2] != drawn[5][2]
    drawn.clear()
    name = make_group(stills[0], stills, "flicker", tmp_path, 4, redraw=True)
    assert name == "flicker-redrawn.4.npz"
    assert len({state for _, _, state in drawn}) == 5


def test_a_mixed_group_names_the_worse_of_two(stills: list[Content], tmp_path: Path) -> None:
    facts, _ = read(tmp_path / make_group(stills[0], stills, MIXED, tmp_path, 5))
    impaired = [f for f in facts if f["level"]]
    assert [f["level"] for f in impaired] == [3, 4, 5]
    for f in impaired:
        assert f["kind"] in CAUSES
        assert f["second"] in CAUSES
        assert f["second"] != f["kind"]
        assert f["second_level"] in (1, 2)


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_is_on_the_clean_clip_and_on_all_that_is_made_of_it(
    look: str, stills: list[Content], tmp_path: Path
) -> None:
    name = make_group(stills[0], stills, "blur", tmp_path, 7, look=look)
    assert name == f"blur-{look}.7.npz"
    facts, arrays = read(tmp_path / name)
    assert [f["variant"] for f in facts[:2]] == [look, "plain"]
    assert {f["look"] for f in facts} == {look}
    looks, natural, worst = (arrays["y"][i].astype(float) for i in (0, 1, 6))
    if look == "dark":
        assert max(looks.mean(), worst.mean()) < 0.6 * natural.mean()
    elif look == "animation":
        held = np.abs(np.diff(looks[:20], axis=0)).mean(axis=(1, 2))
        assert held[1::2].min() > 3 * held[::2].max()
    else:
        grain = looks - natural
        assert 0.8 < grain.std() < 5
        assert abs(grain.mean()) < 0.5
    assert facts[6]["xpsnr_db"] is not None


def test_material_of_one_height_is_made_of_contents_that_are_large_enough(
    stills: list[Content], tmp_path: Path
) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(stills[0].path.parent, sources)
    for name in "uvwxyz":
        with Image.open(stills[0].path) as small:
            small.resize((1000, 580)).save(sources / f"large-{name}.png")
    parser = argparse.ArgumentParser()
    synthesise.add_arguments(parser)
    common = ["--sources", str(sources), "--out", str(tmp_path), "--pictures", "2", "--groups", "0", "--jobs", "1"]
    common += ["--holdout-groups", "0", "--controls", "0", "--height"]
    assert synthesise.run(parser.parse_args([*common, "540"])) == 0
    made = [*(tmp_path / "pictures").iterdir(), *(tmp_path / "pictures-holdout").iterdir()]
    assert len(made) >= 2
    assert all(file.name.startswith("large-") and "-540p." in file.name for file in made)
    with pytest.raises(UsageError, match="no source is large enough for 2160 rows"):
        synthesise.run(parser.parse_args([*common, "2160"]))


def test_a_group_of_one_height_has_it_throughout(stills: list[Content], tmp_path: Path) -> None:
    with Image.open(stills[0].path) as small:
        small.resize((1000, 580)).save(tmp_path / "large.png")
    large = Content(tmp_path / "large.png", "large", 1000, 580)
    name = make_group(large, [large], "blur", tmp_path, 3, height=540)
    assert name == "blur-540p.3.npz"
    assert {(f["width"], f["height"]) for f in read(tmp_path / name)[0]} == {(960, 540)}


def test_what_is_no_cause_is_made_for_the_hold_out_alone(stills: list[Content], tmp_path: Path) -> None:
    facts, _ = read(tmp_path / make_group(stills[0], stills, "banding", tmp_path, 6))
    assert [(f["kind"], f["level"]) for f in facts if f["level"]] == [("banding", level) for level in range(1, 6)]
    parser = argparse.ArgumentParser()
    synthesise.add_arguments(parser)
    arguments = ["--sources", str(tmp_path), "--out", str(tmp_path), "--kinds", "blur", "banding"]
    with pytest.raises(UsageError, match="banding is no cause that can be trained"):
        synthesise.run(parser.parse_args(arguments))


@pytest.mark.parametrize("kind", ["blur", MIXED])
def test_a_group_by_filters_is_for_the_hold_out_alone(kind: str, stills: list[Content], tmp_path: Path) -> None:
    name = make_group(stills[0], stills, kind, tmp_path, 8, by_filters=True)
    assert name == f"{kind}-filters.8.npz"
    facts, arrays = read(tmp_path / name)
    assert [f["level"] for f in facts if f["level"]] == ([3, 4, 5] if kind == MIXED else [1, 2, 3, 4, 5])
    assert arrays["y"].shape == (len(facts), LENGTH, 128, 128)
    parser = argparse.ArgumentParser()
    synthesise.add_arguments(parser)
    asked = ["--sources", str(tmp_path), "--out", str(tmp_path), "--by-filters"]
    with pytest.raises(UsageError, match="--by-filters is for hold-out groups alone: add --groups 0 --pictures 0"):
        synthesise.run(parser.parse_args(asked))
    with pytest.raises(UsageError, match="banding is made by no filter"):
        synthesise.run(parser.parse_args([*asked, "--groups", "0", "--pictures", "0", "--kinds", "banding"]))


def test_judder_is_not_made_of_what_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "_TRIES", 2)
    # Nothing to see in any part of it: no camera path over this still moves a grey level.
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((420, 720, 3), 120, np.uint8)).save(path)
    flat = Content(path, "flat", 720, 420)
    with pytest.raises(ValueError, match="no content moves enough to show judder"):
        make_group(flat, [flat], "judder", tmp_path / "out", 1)
    assert not list((tmp_path / "out").glob("*.npz"))


@pytest.mark.parametrize("variant", [*VARIANTS, *LOOKS])
def test_each_benign_variant_gives_as_many_pictures_as_asked(variant: str, stills: list[Content]) -> None:
    rng = np.random.default_rng(4)
    noise = rng.integers(16, 235, (360, 1300), dtype=np.uint8)
    clean = [
        Picture(
            np.ascontiguousarray(noise[:, 2 * t : 2 * t + 640]),
            np.full((180, 320), 100, np.uint8),
            np.full((180, 320), 150, np.uint8),
        )
        for t in range(70)
    ]
    pictures, ticks = benign_clip(variant, stills[0], stills, clean, 50, rng)
    made = list(pictures)
    assert len(made) == len(ticks) == 50
    assert all(p.y.shape == (360, 640) and p.u.shape == (180, 320) for p in made)
    held = [i for i, tick in enumerate(ticks) if tick.held]
    assert bool(held) == (variant == "24to25")
    for i in held:
        np.testing.assert_array_equal(made[i].y, made[i - 1].y)
    if variant == "ticker":
        band = [p.y[-40:-12] for p in made]
        assert len({b.tobytes() for b in band}) == 50
        np.testing.assert_array_equal(made[9].y[:300], clean[9].y[:300])


def test_film_grain_is_on_luma_alone_new_in_each_picture_strongest_in_mid_tones() -> None:
    planes = [np.full((360, 640), level, np.uint8) for level in (16, 126, 235)]
    chroma = np.full((180, 320), 128, np.uint8)
    deviations = []
    for y in planes:
        made = list(with_look("film", [Picture(y, chroma, chroma)] * 3, np.random.default_rng(0)))
        assert all((p.u == 128).all() and (p.v == 128).all() for p in made)
        grain = [p.y.astype(float) - y for p in made]
        assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.05
        assert np.corrcoef(grain[0][:, 1:].ravel(), grain[0][:, :-1].ravel())[0, 1] > 0.1
        deviations.append(np.std(grain))
    assert deviations[1] > 2 * max(deviations[0], deviations[2])


def test_trunk_pictures_are_labelled_only_where_something_can_be_seen(stills: list[Content], tmp_path: Path) -> None:
    with np.load(tmp_path / make_pictures(stills[0], stills, tmp_path, 2, shots=2)) as data:
        y, label = data["y"], data["label"]
    assert y.shape[1:] == (128, 128)
    assert len(y) == len(label) <= 2 * 5 * 4
    assert ((label[:, 0] == 0) == (label[:, 1] == 0)).all()
    assert label[:, 1].max() <= 5


def test_looks_take_turns_within_each_kind(stills: list[Content], tmp_path: Path) -> None:
    jobs = synthesise.clip_jobs(stills, 4, tmp_path, 1, ["blur", "noise"], looks=["dark", "animation"])
    made = [(arguments[2], function.keywords["look"]) for function, arguments in jobs]
    assert made == [("blur", "dark"), ("blur", "animation"), ("noise", "dark"), ("noise", "animation")]
    pictures = synthesise.picture_jobs(stills, 3, tmp_path, 1, ["dark", "animation"])
    assert [function.keywords["look"] for function, _ in pictures] == ["dark", "animation", "dark"]


def test_lower_rates_show_what_a_slower_grid_shows() -> None:
    plain = rate_ticks([Tick()] * 100, 20.0)
    assert [i for i, _ in plain[:6]] == [0, 1, 2, 3, 5, 6]
    assert [t.step for _, t in plain[1:5]] == pytest.approx([0.8, 0.8, 0.8, 1.6])
    # 24 fps on a 25 fps grid: a hold there is none on a grid of 12.5 that skips every other picture anyway.
    shown = [t * 24 // 25 for t in range(100)]
    converted = [Tick()] + [Tick(b == a, (b - a) * 25 / 24) for a, b in pairwise(shown)]
    slower = rate_ticks(converted, 12.5)
    assert len(slower) == 50
    assert not any(t.held for _, t in slower)
    assert sum(t.step for _, t in slower[1:]) == pytest.approx((shown[98] - shown[0]) * 25 / 24 / 2)
