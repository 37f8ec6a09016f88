"""ChipQA's features against a slow, plain version; NIQE's distance; how they react to damage."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
ndimage = pytest.importorskip("scipy.ndimage", reason="needs the train extra (scipy)")

from scipy import stats  # noqa: E402

from training import chipqa, niqe, nss  # noqa: E402
from training.chipqa import ClipStatistics, Planes, clip_statistics  # noqa: E402
from training.errors import DataError  # noqa: E402
from training.niqe import BlockStatistics, Gaussian, Pool  # noqa: E402

pytestmark = pytest.mark.train

F64 = npt.NDArray[np.float64]


#: Rows and columns one and two steps from the centre, for 0, 30, ... 150 degrees, halves away from it.
DIRECTIONS = (
    ((0, 0), (1, 2)),
    ((1, 1), (1, 2)),
    ((1, 2), (1, 1)),
    ((1, 2), (0, 0)),
    ((1, 2), (-1, -1)),
    ((1, 1), (-1, -2)),
)


def scene(frames: int = 10, height: int = 104, width: int = 200, noise: float = 0.0) -> Iterator[Planes]:
    """A smooth textured picture that drifts to the left."""
    rng = np.random.default_rng(1)
    field = ndimage.gaussian_filter(rng.normal(size=(height, width + 4 * frames)), 1.5)
    field = 128 + 30 * field / field.std()
    for t in range(frames):
        luma = field[:, 2 * t : 2 * t + width] + noise * rng.normal(size=(height, width))
        u = 128 + 0.3 * (field[::2, 2 * t : 2 * t + width : 2] - 128)
        yield (
            np.clip(np.round(luma), 16, 235).astype(np.uint8),
            np.round(u).astype(np.uint8),
            np.full((height // 2, width // 2), 120, np.uint8),
        )


@pytest.fixture(scope="module")
def statistics() -> ClipStatistics:
    return clip_statistics(scene(), dtype=torch.float64)


def test_temporal_filter_is_scipys_convolution_with_mirrored_ends() -> None:
    t = np.arange(5)
    taps = t * (1 - 0.5 * t) * np.exp(-t)
    x = np.random.default_rng(0).normal(size=(5, 7))
    expected = ndimage.convolve1d(x, taps, axis=0, mode="mirror")
    np.testing.assert_allclose(chipqa.temporal_filter().numpy() @ x, expected, atol=1e-12)


def test_chips_lie_along_six_directions_within_the_map() -> None:
    positions, rows, columns = chipqa.chip_positions(48, 75)
    assert positions.shape == (6, 5, rows * columns)
    assert (rows, columns) == (2, 4)
    assert 0 <= positions.min()
    assert positions.max() < 48 * 75
    y, x = positions[:, :, 0] // 75 - 10, positions[:, :, 0] % 75 - 10
    assert list(zip(y[0].tolist(), x[0].tolist(), strict=True)) == [(0, -2), (0, -1), (0, 0), (0, 1), (0, 2)]
    assert list(zip(y[3].tolist(), x[3].tolist(), strict=True)) == [(-2, 0), (-1, 0), (0, 0), (1, 0), (2, 0)]
    for k, (dy, dx) in enumerate(DIRECTIONS):
        assert (tuple(y[k, 3:].tolist()), tuple(x[k, 3:].tolist())) == (dy, dx)
        assert torch.equal(y[k], -y[k].flip(0))
        assert torch.equal(x[k], -x[k].flip(0))
    with pytest.raises(ValueError, match="no chip"):
        chipqa.chip_positions(12, 100)


def chip_image_by_loops(frames: F64) -> F64:
    """Five MSCN frames (5, H, W) -> the tiled chips, one centre after the other."""
    t = np.arange(5)
    filtered = ndimage.convolve1d(frames, t * (1 - 0.5 * t) * np.exp(-t), axis=0, mode="mirror")
    _, height, width = frames.shape
    bands = []
    for y in range(10, height - 2, 20):
        band = []
        for x in range(10, width - 2, 20):
            best: tuple[float, F64] | None = None
            for k in range(6):
                dy, dx = DIRECTIONS[k]
                ys = [y - dy[1], y - dy[0], y, y + dy[0], y + dy[1]]
                xs = [x - dx[1], x - dx[0], x, x + dx[0], x + dx[1]]
                chip = filtered[:, ys, xs]
                distance = abs(stats.kurtosis(chip, axis=None, fisher=False) - 3)
                if best is None or distance < best[0]:
                    best = distance, chip
            assert best is not None
            band.append(best[1])
        bands.append(np.hstack(band))
    return np.vstack(bands)


def test_chip_image_is_the_plain_search() -> None:
    frames = np.random.default_rng(2).normal(size=(5, 53, 75)) ** 3
    positions, rows, columns = chipqa.chip_positions(53, 75)
    samples = torch.stack([torch.from_numpy(frame).flatten()[positions] for frame in frames])
    found = chipqa.chip_image(samples, rows, columns)[0].numpy()
    np.testing.assert_allclose(found, chip_image_by_loops(frames), atol=1e-12)


def test_a_still_flat_clip_gives_finite_chips() -> None:
    samples = torch.zeros(5, 6, 5, 4)
    assert torch.equal(chipqa.chip_image(samples, 2, 2), torch.zeros(1, 10, 10))


def test_the_vector_is_assembled_as_described(statistics: ClipStatistics) -> None:
    """X1, X2 and the chips once more from the published order, with plain loops over frames."""
    frames = list(scene())
    per_frame, luma_mscn, grad_mscn = [], [], []
    for y, u, v in frames:
        luma = torch.from_numpy(y.astype(np.float64))[None]
        chroma = chipqa.lab_chroma((y, u, v), torch.float64, torch.device("cpu"))
        pyramid = [(c, s) for c, s in (nss.mscn(m) for m in (chroma, nss.half_size(chroma)))]
        f = [nss.four_moments(c) for c, _ in pyramid]
        f += [nss.four_moments(nss.mscn(s)[0]) for _, s in pyramid]
        grads = [nss.mscn(nss.gradient_magnitude(m))[0] for m in (luma, nss.half_size(luma))]
        f += [nss.pair_statistics(g) for g in grads]
        f += [nss.four_moments(nss.mscn(nss.mscn(m)[1])[0]) for m in (luma, nss.half_size(luma))]
        per_frame.append(torch.cat(f, dim=1)[0].numpy())
        luma_mscn.append([nss.mscn(m)[0][0].numpy() for m in (luma, nss.half_size(luma))])
        grad_mscn.append([g[0].numpy() for g in grads])
    np.testing.assert_allclose(statistics.x1, np.mean(per_frame[1:], axis=0), atol=1e-9)
    spread = [np.std(per_frame[1:5], axis=0), np.std(per_frame[5:10], axis=0)]
    np.testing.assert_allclose(statistics.x2, np.mean(spread, axis=0), atol=1e-9)
    chips = []
    for start in (0, 5):
        maps = [np.array([m[k] for m in stack[start : start + 5]]) for stack in (luma_mscn, grad_mscn) for k in (0, 1)]
        tiled = [torch.from_numpy(chip_image_by_loops(m))[None] for m in maps]
        chips.append(torch.cat([nss.brisque18(image) for image in tiled], dim=1)[0].numpy())
    np.testing.assert_allclose(statistics.chips, np.mean(chips, axis=0), atol=1e-8)


def test_the_vector_has_221_finite_features(statistics: ClipStatistics) -> None:
    vector = statistics.vector(niqe.fit_pristine([statistics.sharp]))
    assert vector.shape == (chipqa.SIZE,)
    assert np.isfinite(vector).all()
    np.testing.assert_array_equal(vector[:56], statistics.x1)
    np.testing.assert_array_equal(vector[149:], statistics.chips)


def test_float32_gives_nearly_the_same_vector(statistics: ClipStatistics) -> None:
    single = clip_statistics(scene())
    for part in ("x1", "x2", "niqe", "chips"):
        np.testing.assert_allclose(getattr(single, part), getattr(statistics, part), atol=0.02, rtol=0.02)


def test_statistics_survive_a_file(statistics: ClipStatistics, tmp_path: Path) -> None:
    statistics.save(tmp_path / "clip.npz")
    back = ClipStatistics.load(tmp_path / "clip.npz")
    pristine = niqe.fit_pristine([statistics.sharp])
    np.testing.assert_array_equal(back.vector(pristine), statistics.vector(pristine))
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    for name in ("bad.npz", "other.npz", "absent.npz"):
        with pytest.raises(DataError, match=name):
            ClipStatistics.load(tmp_path / name)


def test_chroma_of_known_colours() -> None:
    def of(y: int, u: int, v: int) -> float:
        planes = (np.full((2, 2), y, np.uint8), np.full((1, 1), u, np.uint8), np.full((1, 1), v, np.uint8))
        return float(chipqa.lab_chroma(planes, torch.float64, torch.device("cpu"))[0, 0, 0])

    # Greys have a = b = 0; sRGB red is L* 53, a* 80, b* 67 (D65), and 81, 90, 240 in BT.601.
    assert of(16, 128, 128) == pytest.approx(math.hypot(128, 128), abs=0.1)
    assert of(235, 128, 128) == pytest.approx(math.hypot(128, 128), abs=0.1)
    assert of(81, 90, 240) == pytest.approx(math.hypot(128 + 80.1, 128 + 67.2), abs=1.5)


def test_noise_moves_the_clip_away_from_pristine(statistics: ClipStatistics) -> None:
    pristine = niqe.fit_pristine([statistics.sharp])
    clean = statistics.vector(pristine)[148]
    noisy = clip_statistics(scene(noise=25.0)).vector(pristine)[148]
    assert noisy > 2 * clean


def test_a_stuttering_clip_differs_in_its_chips(statistics: ClipStatistics) -> None:
    frames = list(scene())
    stuttering = clip_statistics((frames[t - t % 2] for t in range(10)), dtype=torch.float64)
    still = clip_statistics((frames[0] for _ in range(10)), dtype=torch.float64)
    assert np.abs(stuttering.chips - statistics.chips).max() > 0.05
    assert np.abs(still.chips - statistics.chips).max() > 0.05
    np.testing.assert_allclose(still.x2, 0, atol=1e-9)


def test_the_first_frame_and_an_unfinished_group_do_not_count() -> None:
    frames = list(scene())
    short = clip_statistics(frames[:5])
    longer = clip_statistics(frames[:9])
    np.testing.assert_array_equal(short.x1, longer.x1)
    other_first = clip_statistics([next(scene(noise=20.0)), *frames[1:5]])
    np.testing.assert_array_equal(short.x1, other_first.x1)
    assert not np.array_equal(short.chips, other_first.chips)


def test_too_short_too_small_or_changing_clips_are_named() -> None:
    with pytest.raises(DataError, match="at least 5"):
        clip_statistics(scene(frames=4))
    with pytest.raises(DataError, match="192x96"):
        clip_statistics(scene(height=96, width=120))
    mixed = [*scene(frames=5), *scene(frames=5, height=192)]
    with pytest.raises(DataError, match="one size"):
        clip_statistics(mixed)


def test_a_clip_is_streamed_and_not_kept() -> None:
    alive: list[weakref.ref[npt.NDArray[np.uint8]]] = []
    most = 0

    def watched() -> Iterator[Planes]:
        nonlocal most
        for planes in scene(frames=11):
            alive.append(weakref.ref(planes[0]))
            most = max(most, sum(ref() is not None for ref in alive))
            yield planes

    clip_statistics(watched())
    assert len(alive) == 11
    assert most <= 3


def test_niqe_blocks_are_counted_and_sharp_ones_chosen() -> None:
    luma = torch.zeros(1, 200, 300)
    luma[:, :96, :96] = 128 + 40 * torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    found = niqe.block_statistics(luma)
    assert found.features.shape == (6, 36)
    assert np.isfinite(found.features).all()
    assert found.sharpness.argmax() == 0
    assert found.sharp.shape == (1, 36)
    with pytest.raises(ValueError, match="two blocks"):
        niqe.block_statistics(torch.zeros(1, 96, 191))


def test_niqe_features_of_a_block_are_those_of_the_block_alone() -> None:
    luma = 128 + 30 * torch.randn(1, 96, 192, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = niqe.block_statistics(luma).features
    coefficients = nss.mscn(luma, 1e-3)[0][0, :, 96:]
    fit = nss.fit_aggd(coefficients.reshape(1, -1))
    assert found[1, 0] == pytest.approx(float(fit.shape))
    assert found[1, 1] == pytest.approx(float((fit.left + fit.right) / 2 * fit.to_scale))


def test_pools_add_up_to_numpys_mean_and_covariance() -> None:
    x = np.random.default_rng(0).normal(size=(40, 36))
    gaussian = niqe.fit_pristine([Pool.of(x[:15]), Pool.of(x[15:])])
    np.testing.assert_allclose(gaussian.mean, x.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(gaussian.covariance, np.cov(x, rowvar=False), atol=1e-12)
    with pytest.raises(ValueError, match="needs clips"):
        niqe.fit_pristine([])
    with pytest.raises(ValueError, match="two blocks"):
        niqe.fit_pristine([Pool.of(x[:1])])


def test_distance_is_mahalanobis_with_the_mean_covariance() -> None:
    a = Gaussian(np.zeros(36), np.eye(36))
    b = Gaussian(np.full(36, 2.0), 3 * np.eye(36))
    assert a.distance(b) == pytest.approx(math.sqrt(36 * 4 / 2))
    assert a.distance(a) == 0.0
    assert BlockStatistics(np.ones((3, 36)), np.array([1.0, 0.76, 0.74])).sharp.shape == (2, 36)
