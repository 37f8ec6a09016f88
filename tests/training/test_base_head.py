"""The head as it is trained and the head as it runs compute the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from monitor.core.head import bag_arrays, make_head
from monitor.core.scorer import ScoringSpec, StreamScorer
from monitor.core.side_channel import SIDE_NAMES
from monitor.core.stream_head import StatePolicy, step_streams

torch = pytest.importorskip("torch", reason="training needs torch")

from training.head_data import Clips  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ["bagged-bottleneck", "bagged-wide"])
def test_trained_models_and_the_monitors_head_agree(kind: str, count: int) -> None:
    from training.head_model import WARMUP, HeadModel, predict
    from training.synthesis import CLIP_LENGTH, ClipFacts

    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    facts = [ClipFacts("c", "c", "clean", 0, "plain", 640, 360, 3.0, 22.0)] * 3
    features = rng.standard_normal((3, CLIP_LENGTH, 32)).astype(np.float32)
    outputs = torch.nn.Linear(32, 8)
    with torch.no_grad():
        trunk = outputs(torch.from_numpy(features)).numpy()
    if kind == "bagged-wide":
        trunk = np.concatenate([features, trunk], axis=2)
    side = rng.standard_normal((3, CLIP_LENGTH, len(SIDE_NAMES))).astype(np.float32)
    clips = Clips(trunk, side, facts, np.full(3, 0.9), np.zeros(3, np.int64))
    members = [HeadModel(clips) for _ in range(count)]
    scores, causes = predict(members, clips)

    head = make_head(kind, bag_arrays([member.arrays(outputs) for member in members]))
    spec = ScoringSpec(head.state_size, Fraction(25), StatePolicy.CONTINUOUS, 250, 12, 0.5, WARMUP, lambda q: q)
    for i in range(3):
        scorer = StreamScorer(spec)
        pooled = []
        for t, row in enumerate(head.reduce(features[i], side[i])):
            q, p = step_streams(head, [scorer.head], row[None])
            pooled += scorer.push(t, 0.0, float(q[0]), p[0])
        pooled += scorer.flush()
        assert np.mean([x.value for x in pooled if x.tick >= WARMUP]) == pytest.approx(scores[i], abs=1e-5)
        np.testing.assert_allclose(p[0], causes[i], atol=1e-4)


def test_only_clean_versions_of_one_content_are_asked_to_score_alike() -> None:
    from training.head_training import tie_loss

    score = torch.tensor([0.9, 0.7, 0.5, 0.2])
    group, clean = torch.tensor([0, 0, 0, 1]), torch.tensor([True, True, False, True])
    assert float(tie_loss(score, group, clean)) == pytest.approx(0.2)
    assert float(tie_loss(score, group, torch.zeros(4, dtype=torch.bool))) == 0
    assert float(tie_loss(score, torch.arange(4), clean)) == 0


def test_contents_under_one_spatial_type_are_asked_for_the_order_of_their_labels() -> None:
    from training.head_training import across_loss

    score, label = torch.tensor([0.5, 0.8, 0.2, 0.3]), torch.tensor([0.8, 0.6, 0.4, 0.7])
    apart = torch.arange(4)
    # 0 over 1 by .16, 1 over 2 by .16, 0 over 2 by .25: the first pair stands the wrong way round by .3.
    one_type = torch.tensor([1, 1, 1, -1])
    assert float(across_loss(score, label, apart, one_type)) == pytest.approx((0.46 + 0 + 0) / 3)
    assert float(across_loss(score, label, torch.tensor([0, 0, 1, 2]), one_type)) == 0
    assert float(across_loss(score, label, apart, torch.arange(4))) == 0
    assert float(across_loss(score, label, apart, torch.full((4,), -1))) == 0


def test_a_stretch_goes_on_where_the_last_one_ended() -> None:
    from training.head_model import HeadModel

    clips = planted(4)
    torch.manual_seed(1)
    model = HeadModel(clips).eval()
    trunk, side = torch.from_numpy(clips.trunk), torch.from_numpy(clips.side)
    whole, logits, _ = model(trunk, side, [99])
    first, _, state = model(trunk[:, :40], side[:, :40], [])
    second, later, _ = model(trunk[:, 40:], side[:, 40:], [59], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(later, logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", [{}, {"cell": "none", "pooling": "mean"}, {"trunk": False}, {"side": False}])
def test_a_head_learns_what_its_parts_can_tell(variant: dict[str, object]) -> None:
    """Damage is planted in both inputs: every variant ranks clips it has seen."""
    from training.head_model import HeadVariant, predict
    from training.head_training import train_head

    clips = planted(6, strength=2.0)
    model = train_head(clips, epochs=40, seed=0, variant=HeadVariant(**variant), quiet=True)  # type: ignore[arg-type]
    score, causes = predict([model], clips)
    assert np.corrcoef(score, clips.label)[0, 1] > 0.8
    if not variant:
        assert (causes.argmax(axis=1) == clips.cause)[clips.level != 1].mean() > 0.7


def test_only_the_whole_head_can_be_exported() -> None:
    from training.head_model import HeadModel, HeadVariant

    model = HeadModel(planted(1), HeadVariant(side=False))
    with pytest.raises(ValueError, match="only the whole head"):
        model.arrays(torch.nn.Linear(4, 8))


def planted(groups: int, strength: float = 1.0) -> Clips:
    from training.synthesis import CLIP_LENGTH, ClipFacts

    rng = np.random.default_rng(5)
    trunk = rng.standard_normal((groups * 4, CLIP_LENGTH, 8)).astype(np.float32) * 0.3
    side = rng.standard_normal((groups * 4, CLIP_LENGTH, 25)).astype(np.float32) * 0.3
    facts = []
    for row in range(groups * 4):
        level = (0, 1, 3, 5)[row % 4]
        trunk[row, :, 0] += strength * level
        side[row, :, 3] += strength * level
        kind = "blur" if level else "clean"
        facts.append(
            ClipFacts(f"c{row // 4}", f"c{row // 4}", kind, level, "" if level else "plain", 640, 360, 3.0, 20.0)
        )
    label = np.array([0.95 - 0.12 * f.level for f in facts])
    return Clips(trunk, side, facts, label, np.arange(groups * 4) // 4)
