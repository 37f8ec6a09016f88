"""The heads of Table 1, their pooling, and the released VSFA weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from monitor.core.head import make_head  # noqa: E402
from training import models  # noqa: E402
from training.errors import DataError  # noqa: E402
from training.models import ROWS, HeadConfig, QualityHead, hysteresis_pool  # noqa: E402

pytestmark = pytest.mark.train

SMALL = HeadConfig(features=6, reduced=5, hidden=4, tau=3)


def pool_by_definition(q: npt.NDArray[np.float64], tau: int = 12, beta: float = 0.5) -> npt.NDArray[np.float64]:
    pooled = []
    for t in range(len(q)):
        ahead = q[t : t + tau]
        softmin = (ahead * np.exp(-ahead)).sum() / np.exp(-ahead).sum()
        pooled.append((1 - beta) * q[max(0, t - tau + 1) : t + 1].min() + beta * softmin)
    return np.array(pooled)


@pytest.mark.parametrize("length", [1, 2, 11, 12, 13, 40])
@pytest.mark.parametrize(("tau", "beta"), [(12, 0.5), (1, 0.3), (5, 0.8)])
def test_pooling_is_its_definition(length: int, tau: int, beta: float) -> None:
    q = np.random.default_rng(length).normal(0.6, 0.3, length)
    found = hysteresis_pool(torch.from_numpy(q), tau, beta).numpy()
    np.testing.assert_allclose(found, pool_by_definition(q, tau, beta), rtol=0, atol=1e-12)


def test_pooling_has_the_gradient_of_its_value() -> None:
    q = torch.from_numpy(np.random.default_rng(1).normal(0.5, 0.3, (2, 9))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: hysteresis_pool(x, 4, 0.4), (q,))


def test_pooling_does_not_underflow_on_a_large_scale() -> None:
    q = torch.full((20,), 800.0)
    torch.testing.assert_close(hysteresis_pool(q), q)


@pytest.mark.parametrize("row", list(ROWS))
def test_padding_a_batch_changes_no_score(row: str) -> None:
    torch.manual_seed(0)
    head = QualityHead(replace(ROWS[row], features=6, reduced=5, hidden=4, tau=3)).double()
    clips = [torch.randn(length, 6, dtype=torch.float64) for length in (1, 9, 4)]
    together = head(torch.cat(clips), [1, 9, 4])
    alone = [models.score_clip(head, clip).score for clip in clips]
    assert together.tolist() == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("row", list(ROWS))
def test_gradients_are_finite_with_padding(row: str) -> None:
    torch.manual_seed(0)
    head = QualityHead(replace(ROWS[row], features=6, reduced=5, hidden=4))
    head(torch.randn(31, 6), [1, 30]).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_rows_differ_as_the_table_says() -> None:
    sizes = {row: sum(p.numel() for p in QualityHead(config).parameters()) for row, config in ROWS.items()}
    assert sizes == {"no-time": 524_545, "avg-GRU": 540_001, "sub-LSTM": 545_185, "sub-GRU": 540_001}
    assert {row for row, config in ROWS.items() if config.pooling == "mean"} == {"no-time", "avg-GRU"}


def test_no_time_cannot_see_the_order_of_frames_and_the_others_can() -> None:
    torch.manual_seed(3)
    clip = torch.randn(12, 6)
    for row, config in ROWS.items():
        head = QualityHead(replace(config, features=6, reduced=5, hidden=4))
        same = math.isclose(head(clip, [12]).item(), head(clip.flip(0), [12]).item(), abs_tol=1e-6)
        assert same == (row == "no-time"), row


def test_bounded_scores_stay_within_zero_and_one() -> None:
    torch.manual_seed(0)
    head = QualityHead(replace(SMALL, bounded=True))
    score = head(1000 * torch.randn(40, 6), [5] * 8)
    assert ((score >= 0) & (score <= 1)).all()
    raw = QualityHead(SMALL)
    raw.load_state_dict(head.state_dict())
    clip = torch.randn(5, 6)
    torch.testing.assert_close(head(clip, [5]), torch.sigmoid(raw(clip, [5])))


@pytest.mark.parametrize("length", [1, 5, 12, 13, 100, 240])
def test_released_weights_give_the_golden_scores(shared_dir: Path, length: int) -> None:
    golden = np.load(shared_dir / "reference" / "golden_head.npz")
    x = np.abs(np.random.default_rng(1000 + length).standard_normal((length, 4096), dtype=np.float32))
    x *= np.float32(0.5)
    np.testing.assert_allclose(x[0, :8], golden[f"x_head_{length}"])
    head = models.load_head(shared_dir / "reference" / "VSFA.pt")
    for precision, suffix, tolerance in ((torch.float32, "", 1e-5), (torch.float64, "64", 1e-10)):
        found = models.score_clip(head.to(precision), torch.from_numpy(x).to(precision))
        np.testing.assert_allclose(found.q.numpy(), golden[f"q{suffix}_{length}"], rtol=0, atol=tolerance)
        np.testing.assert_allclose(found.pooled.numpy(), golden[f"tp{suffix}_{length}"], rtol=0, atol=tolerance)
        assert found.score == pytest.approx(float(golden[f"score{suffix}_{length}"]), abs=tolerance)


def test_a_saved_head_comes_back_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = QualityHead(replace(ROWS["sub-LSTM"], features=6, tau=5, bounded=True))
    models.save_head(head, tmp_path / "head.pt")
    back = models.load_head(tmp_path / "head.pt")
    assert back.config == head.config
    clip = torch.randn(7, 6)
    assert torch.equal(back(clip, [7]), head(clip, [7]))


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"nothing of use")
    other = tmp_path / "other.pt"
    torch.save({"a": torch.zeros(1)}, other)
    listed = tmp_path / "list.pt"
    torch.save([1, 2], listed)
    for path in (damaged, other, listed, tmp_path / "absent.pt", tmp_path):
        with pytest.raises(DataError, match=path.name) as caught:
            models.load_head(path)
        assert "\n" not in str(caught.value)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(T, 6\), got \(3, 7\)"):
        models.score_clip(QualityHead(SMALL), torch.zeros(3, 7))


@pytest.mark.parametrize("change", [{"cell": "rnn"}, {"pooling": "max"}])
def test_unknown_parts_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        QualityHead(replace(SMALL, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", ["gru", "lstm", "none"])
@pytest.mark.parametrize("length", [1, 40])
def test_the_monitor_runs_the_same_head(length: int, cell: str) -> None:
    torch.manual_seed(2)
    head = QualityHead(replace(SMALL, cell=cell))
    features = torch.randn(length, 6)
    ours = make_head(models.HEAD_KINDS[cell], models.to_arrays(head))
    state = np.zeros((1, ours.state_size))
    q = []
    for row in ours.reduce(features.numpy(), None):
        state, quality, _ = ours.step(row[None], state)
        q.append(float(quality[0]))
    assert q == pytest.approx(models.score_clip(head, features).q.tolist(), abs=1e-6)
