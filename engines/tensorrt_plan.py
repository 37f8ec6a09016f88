"""From a graph to a TensorRT plan. Works with ``tensorrt`` 10 and 11, and with ``tensorrt_rtx``, which needs no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from engines.errors import EngineError

INPUT, OUTPUT = "pixels", "features"
#: Batches are filled up to one of these; each has a profile of its own, tuned for exactly that shape.
BUCKETS = (1, 2, 4, 8, 16, 32, 64)


def buckets_to(largest: int) -> tuple[int, ...]:
    """Bucket sizes for batches of up to so many pictures; the last one is the largest itself.

    Raises:
        ValueError: It is less than one.
    """
    if largest < 1:
        raise ValueError(f"a batch has at least one picture, not {largest}")
    return (*(size for size in BUCKETS if size < largest), largest)


def bucket_of(count: int, buckets: Sequence[int]) -> int:
    """Index of the smallest bucket that holds so many pictures; of the largest where none does."""
    return next((i for i, size in enumerate(buckets) if size >= count), len(buckets) - 1)


def chunks(count: int, buckets: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of the pieces in which a batch goes through: whole largest buckets, then the rest."""
    step = buckets[-1]
    return [(start, min(count, start + step)) for start in range(0, count, step)]


def profiles_of(picture: tuple[int, int, int], buckets: Sequence[int]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """(smallest, best, largest) input shape of each bucket's profile: one shape, so that its CUDA graph fits it."""
    return tuple(((size, *picture),) * 3 for size in buckets)


def build_plan(trt: ModuleType, graph: bytes, profiles: Sequence[Sequence[tuple[int, ...]]]) -> bytes:
    """Builds a strongly typed plan: every tensor has the type that the graph gives it.

    Args:
        trt: The module ``tensorrt`` or ``tensorrt_rtx``.
        graph: ONNX, weights included.
        profiles: As ``profiles_of`` gives them.

    Raises:
        EngineError: The graph is not understood, mixes types, or cannot be built; the message says what is said of it.
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    # 10.x needs the flag; 11.x has no other networks and ignores it.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        said = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineError(f"TensorRT does not take the graph: {said or 'it says nothing'}")
    config = builder.create_builder_config()
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        profile.set_shape(INPUT, *shapes)
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError("TensorRT could not build the graph; what it said stands on stderr")
    return bytes(plan)
