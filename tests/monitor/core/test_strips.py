from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from monitor.core.strips import StripFigures, flat_share, measure_strips

RATIOS = (
    "curvature_ratio",
    "octave_ratio_1",
    "octave_ratio_2",
    "curvature_ratio_vertical",
    "octave_ratio_vertical",
    "period_across",
    "period_down",
)


def picture(seed: int = 1, height: int = 360, width: int = 640) -> np.ndarray:
    """Texture at several scales, with edges: smooth fields of noise, and boxes."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for size in (3, 9, 33):
        small = rng.normal(size=(height // size + 2, width // size + 2)).astype(np.float32)
        smooth = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(smooth) * size**0.7
    for _ in range(30):
        y, x = rng.integers(height - 40), rng.integers(width - 60)
        total[y : y + 40, x : x + 60] += rng.normal() * 8
    scaled = (total - total.min()) / np.ptp(total) * 200 + 25
    return (scaled + rng.normal(size=scaled.shape) * 1.5).clip(0, 255).astype(np.uint8)


def strips(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = luma.shape
    columns = np.stack([luma[:, x : x + 8] for x in range(0, width - 8, width // 96 * 8)][:12])
    rows = np.stack([luma[y : y + 8] for y in range(0, height - 8, height // 64 * 8)][:8])
    return columns, rows


def figures(luma: np.ndarray) -> StripFigures:
    return measure_strips(*strips(luma))


def ratio(of: StripFigures, name: str) -> float:
    return of.ratios[RATIOS.index(name)]


CLEAN = picture()


def test_woven_fields_show_as_combs() -> None:
    woven = CLEAN.copy()
    woven[1::2] = np.roll(CLEAN, 12, axis=1)[1::2]
    clean, combed = figures(CLEAN), figures(woven)
    assert combed.comb_ratio > clean.comb_ratio + 0.3
    assert combed.comb_share > 10 * clean.comb_share + 0.001
    assert ratio(combed, "curvature_ratio_vertical") > ratio(clean, "curvature_ratio_vertical") + 0.1


def test_combs_of_the_strongest_contrast_do_not_overflow() -> None:
    zebra = np.full((12, 180, 8), 16, np.uint8)
    zebra[:, ::2] = 255
    found = measure_strips(zebra, strips(CLEAN)[1])
    assert found.comb_share == pytest.approx(1.0)
    assert ratio(found, "curvature_ratio_vertical") == pytest.approx(np.log(2), abs=0.01)


def test_block_edges_stand_out_at_their_phase() -> None:
    # Each 8x8 block at its own mean, as coarse quantisation leaves it.
    blocks = CLEAN.reshape(45, 8, 80, 8).mean(axis=(1, 3)).round()
    blocky = (0.3 * CLEAN + 0.7 * np.kron(blocks, np.ones((8, 8)))).astype(np.uint8)
    clean, coded = figures(CLEAN), figures(blocky)
    assert coded.blockiness_vertical > clean.blockiness_vertical + 0.3
    assert coded.blockiness_horizontal > clean.blockiness_horizontal + 0.3


def test_blur_lowers_every_scale_ratio_and_noise_raises_it() -> None:
    blurred = np.asarray(Image.fromarray(CLEAN).filter(ImageFilter.GaussianBlur(2)))
    noisy = (CLEAN + np.random.default_rng(2).normal(size=CLEAN.shape) * 9).clip(0, 255).astype(np.uint8)
    low, mid, high = (figures(luma) for luma in (blurred, CLEAN, noisy))
    for name in RATIOS[:5]:
        assert ratio(low, name) < ratio(mid, name) - 0.05, name
        assert ratio(high, name) > ratio(mid, name) + 0.05, name


@pytest.mark.parametrize("factor", [1.35, 1.7, 2.2, 3.0])
@pytest.mark.parametrize("kernel", [Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_upscaling_shows_its_period_both_ways(factor: float, kernel: Image.Resampling) -> None:
    height, width = CLEAN.shape
    small = Image.fromarray(CLEAN).resize((round(width / factor), round(height / factor)), Image.Resampling.NEAREST)
    scaled = figures(np.asarray(small.resize((width, height), kernel)))
    clean = figures(CLEAN)
    for name in ("period_across", "period_down"):
        assert ratio(scaled, name) > ratio(clean, name) + 0.25, name


def test_ratios_hardly_move_with_contrast() -> None:
    flat = (118 + (CLEAN.astype(float) - 118) * 0.5).round().astype(np.uint8)
    for name in RATIOS[1:]:
        assert abs(ratio(figures(flat), name) - ratio(figures(CLEAN), name)) < 0.3, name


def test_pictures_too_small_for_a_period_have_none() -> None:
    rows, columns = np.zeros((8, 8, 60), np.uint8), np.zeros((12, 40, 8), np.uint8)
    assert measure_strips(columns, rows).ratios == (0.0,) * 7


def test_a_textured_picture_has_hardly_a_flat_block_and_a_drawn_one_little_else() -> None:
    assert flat_share(strips(CLEAN)[1]) < 0.05
    card = np.full((360, 640), 40, np.uint8)
    card[150:200, 200:400] = 220
    assert flat_share(strips(card)[1]) > 0.9
    assert flat_share(np.zeros((8, 8, 6), np.uint8)) == 0.0


@given(st.integers(16, 80), st.integers(16, 160), st.integers(0, 2**32 - 1))
def test_figures_are_those_of_each_strip_by_itself(height: int, width: int, seed: int) -> None:
    """Written out pixel by pixel: lines of different strips must not touch each other."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, 256, (3, height, 8), dtype=np.uint8)
    rows = rng.integers(0, 256, (2, 8, width), dtype=np.uint8)
    across, down = rows.astype(float), columns.astype(float).transpose(0, 2, 1)
    found = measure_strips(columns, rows)

    def size(lines: np.ndarray, distance: int) -> float:
        return float(np.abs(lines[:, :, distance:] - lines[:, :, :-distance]).mean())

    def curvature(lines: np.ndarray) -> np.ndarray:
        return np.abs(np.diff(lines, n=2, axis=2)).mean(axis=(1, 2))

    def ratio(above: float, below: float) -> float:
        return float(np.log((above + 0.05) / (below + 0.05)))

    assert found.laplacian == pytest.approx(curvature(across).mean())
    assert found.laplacian_median == pytest.approx(np.median(curvature(across)))
    assert found.comb_ratio == pytest.approx(np.log((size(down, 1) + 0.25) / (size(down, 2) + 0.25)))
    before, here, after = down[:, :, :-2], down[:, :, 1:-1], down[:, :, 2:]
    up, low = np.minimum(here - before, here - after), np.maximum(here - before, here - after)
    teeth = ((up > 12) | (low < -12)) & (np.abs(after - before) < 10)
    assert found.comb_share == pytest.approx(teeth.mean())
    assert found.ratios[:5] == pytest.approx(
        (
            ratio(curvature(across).mean(), size(across, 1)),
            ratio(size(across, 1), size(across, 2)),
            ratio(size(across, 2), size(across, 4)),
            ratio(curvature(down).mean(), size(down, 1)),
            ratio(size(down, 1), size(down, 2)),
        )
    )
