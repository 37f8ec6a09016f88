"""The head as it is trained and the head as it runs compute the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from monitor.core.head import BottleneckHead
from monitor.core.scorer import ScoringSpec, StreamScorer
from monitor.core.side_channel import SIDE_NAMES
from monitor.core.stream_head import StatePolicy, step_streams

torch = pytest.importorskip("torch", reason="training needs torch")
pytestmark = pytest.mark.train


def test_the_trained_model_and_the_monitors_head_agree() -> None:
    from training.base_head import WARMUP, Clips, HeadModel, predict
    from training.synthesis import CLIP_LENGTH, ClipFacts

    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    facts = [ClipFacts("c", "c", "clean", 0, "plain", 640, 360, 3.0, 22.0)] * 3
    features = rng.standard_normal((3, CLIP_LENGTH, 32)).astype(np.float32)
    outputs = torch.nn.Linear(32, 8)
    with torch.no_grad():
        trunk = outputs(torch.from_numpy(features)).numpy()
    side = rng.standard_normal((3, CLIP_LENGTH, len(SIDE_NAMES))).astype(np.float32)
    clips = Clips(trunk, side, facts, np.full(3, 0.9), np.zeros(3, np.int64))
    model = HeadModel(clips)
    scores, causes = predict(model, clips)

    head = BottleneckHead(model.arrays(outputs))
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
