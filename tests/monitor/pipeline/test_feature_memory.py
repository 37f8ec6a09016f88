"""Claims of monitor.pipeline.feature_memory."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import EngineError
from monitor.pipeline.feature_memory import FeatureMemory
from monitor.types import PictureFacts, Sample, StreamId

PICTURES = np.random.default_rng(5).integers(0, 255, (4, 3, 8, 8), dtype=np.uint8)


def sample(stream: str, tick: int, picture: int) -> Sample:
    # A copy, as it comes out of a reader's process: equal, not the same object.
    pixels = PICTURES[picture].copy()
    return Sample(StreamId(stream), 1, tick, float(Fraction(tick, 25)), 0.0, pixels, None, PictureFacts())


class Engine:
    """Mean and spread of each picture; keeps how many it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        self.asked.append(len(pixels))
        flat = pixels.reshape(len(pixels), -1).astype(np.float32)
        return np.stack([flat.mean(1), flat.std(1)], axis=1)


@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=6), max_size=6))
def test_features_are_those_of_each_picture_however_often_it_is_shown(batches: list[list[tuple[str, int]]]) -> None:
    memory, engine = FeatureMemory(), Engine()
    newest: dict[str, int] = {}
    changes = 0
    for batch in batches:
        for stream, picture in batch:
            changes += newest.get(stream) != picture
            newest[stream] = picture
        found = memory.features([sample(s, 0, p) for s, p in batch], engine.infer)
        assert np.array_equal(found, Engine().infer(PICTURES[[p for _, p in batch]]))
    assert sum(engine.asked) == changes
    assert memory.reused == sum(map(len, batches)) - changes


def test_an_engine_is_not_asked_about_a_batch_of_known_pictures() -> None:
    memory, engine = FeatureMemory(), Engine()
    memory.features([sample("a", 0, 0), sample("b", 0, 1)], engine.infer)
    memory.features([sample("a", 1, 0), sample("b", 1, 1)], engine.infer)
    assert engine.asked == [2]


def test_one_value_that_differs_is_another_picture() -> None:
    memory, engine = FeatureMemory(), Engine()
    first = sample("a", 0, 0)
    memory.features([first], engine.infer)
    other = sample("a", 1, 0)
    other.pixels[2, 7, 7] ^= 1
    memory.features([other], engine.infer)
    assert engine.asked == [1, 1]


def test_a_batch_that_failed_is_computed_again() -> None:
    def broken(_: np.ndarray) -> np.ndarray:
        raise EngineError("the device went away")

    memory, engine = FeatureMemory(), Engine()
    with pytest.raises(EngineError):
        memory.features([sample("a", 0, 0)], broken)
    memory.features([sample("a", 1, 0)], engine.infer)
    assert engine.asked == [1]


def test_a_stream_that_is_forgotten_is_computed_again() -> None:
    memory, engine = FeatureMemory(), Engine()
    memory.features([sample("a", 0, 0)], engine.infer)
    memory.forget(StreamId("a"))
    memory.forget(StreamId("b"))
    memory.features([sample("a", 1, 0)], engine.infer)
    assert engine.asked == [1, 1]
