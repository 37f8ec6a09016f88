"""The same impairments by another code: FFmpeg's filters, and encoders that no training clip has passed.

For evaluation alone. What a model shows on ``training.distortions`` may be its knowledge of that code: of its kernels,
its resampling, its random numbers. Here nothing of it is used. Levels mean what they mean there, about as strong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import av
import av.filter
import numpy as np

from training.pictures import Picture, from_frame, to_frame, transcode

Rng = np.random.Generator
_Filter = tuple[str, str]

#: What each encoder is asked for at levels 1 to 5: a fixed quantiser, or what a constant quality is called there.
_MPEG4_QUANTISER = (2, 4, 8, 16, 31)
_VP9_CRF = (24, 36, 47, 56, 63)
_AV1_CRF = (28, 40, 50, 57, 63)
_DECIMATION = (1.35, 1.7, 2.2, 3.0, 4.2)
#: Of a picture that was made smaller and is shown at its old size, smoothly both ways.
_SOFT = (1.4, 1.9, 2.7, 4.0, 6.0)
_BLUR_SIGMA = (0.6, 0.95, 1.5, 2.3, 3.6)
#: ``noise`` takes the square root of 3 times the standard deviation, or of 12 where it is uniform.
_NOISE_STRENGTH = (4, 7, 12, 19, 29)
_BRIGHTNESS = (1.5, 3.0, 5.5, 10.0, 16.0)
#: Pictures a second that are left; each leaves an uneven cadence at 25.
_KEPT_FPS = ("20", "50/3", "10", "50/7", "50/9")
_LOST = (2, 4, 6, 10, 16)
#: Of ten pictures, and how far apart the two are whose fields are mixed.
_COMBED = (2, 4, 8, 9, 10)
_APART = (1, 1, 1, 2, 3)
#: ``unsharp`` sums both ways in 32 bits, which no larger square matrix leaves it.
_LARGEST_MATRIX = 13


def compression(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """MPEG-4 part 2 at a fixed quantiser, or VP9 or AV1 at a constant quality."""
    coder = str(rng.choice(["mpeg4", "libvpx-vp9", "libsvtav1"]))
    if coder == "mpeg4":
        return transcode(pictures, coder, {}, fps=fps, quantiser=_MPEG4_QUANTISER[level - 1], gop=50)
    if coder == "libvpx-vp9":
        options = {"deadline": "realtime", "cpu-used": "8", "crf": str(_VP9_CRF[level - 1]), "b": "0"}
    else:
        options = {"preset": "12", "crf": str(_AV1_CRF[level - 1]), "svtav1-params": "lp=1"}
    return transcode(pictures, coder, options, fps=fps)


def aliasing(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """The nearest pixel alone is kept; enlarged again by repetition, bicubic or Lanczos."""
    up = str(rng.choice(["neighbor", "bicubic", "lanczos"]))
    return _resized(pictures, _DECIMATION[level - 1], "neighbor", up, fps)


def blur(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """A picture of fewer pixels enlarged (bicubic both ways), or a binomial kernel."""
    if rng.random() < 0.5:
        return _resized(pictures, _SOFT[level - 1], "bicubic", "bicubic", fps)
    first, pictures = _first(pictures)
    # Several passes add their variances; the chroma of 4:2:0 has half of the deviation.
    variance = _BLUR_SIGMA[level - 1] ** 2 * first.y.shape[0] / 450
    passes = max(1, int(np.ceil(variance / _variance(_LARGEST_MATRIX))))
    kernel = ":".join(_binomial(plane, variance / passes / share) for plane, share in (("l", 1), ("c", 4)))
    return _filtered(pictures, [("unsharp", kernel)] * passes, fps)


def noise(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """FFmpeg's noise on all planes, new in every picture, Gaussian or uniform."""
    uniform = int(rng.integers(2))
    strength, flags = _NOISE_STRENGTH[level - 1] * (1 + uniform), "t+u" if uniform else "t"
    settings = f"alls={strength}:allf={flags}:all_seed={int(rng.integers(1 << 20))}"
    return _filtered(pictures, [("noise", settings)], fps)


def interlacing(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """Every second line is of a later picture, in so many of each ten pictures."""
    parity, ahead = int(rng.integers(2)), _APART[level - 1]
    mixed = f"all_expr='if(eq(mod(Y,2),{parity}),B,A)':enable='lt(mod(n*3,10),{_COMBED[level - 1]})'"
    return _with_later(pictures, ahead, ("blend", mixed), fps)


def judder(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """A rate that does not divide 25, and back to 25 by repeating."""
    return _filtered(pictures, [("fps", _KEPT_FPS[level - 1]), ("fps", f"{fps:g}")], fps)


def frame_drop(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """Bursts are lost; a receiver that has nothing shows the last picture until its time goes on."""
    period, at = int(rng.integers(32, 46)), int(rng.integers(5, 12))
    lost = f"not(between(mod(n,{period}),{at},{at + _LOST[level - 1] - 1}))"
    return _filtered(pictures, [("select", f"'{lost}'"), ("fps", f"{fps:g}")], fps)


def flicker(pictures: Iterable[Picture], level: int, rng: Rng, fps: float) -> Iterator[Picture]:
    """Brightness swings: a constant is added to luma, as a sine of 2 to 12 Hz."""
    # The filter's unit is a tenth of the range.
    swing = f"{_BRIGHTNESS[level - 1] / 25.5:.4f}*sin({rng.uniform(2, 12):.3f}*2*PI*n/{fps:g}+{rng.uniform(0, 6):.2f})"
    return _filtered(pictures, [("hue", f"b='{swing}'")], fps)


FILTER_DISTORTIONS: dict[str, Callable[[Iterable[Picture], int, Rng, float], Iterator[Picture]]] = {
    "compression": compression,
    "aliasing": aliasing,
    "interlacing": interlacing,
    "judder": judder,
    "flicker": flicker,
    "frame_drop": frame_drop,
    "blur": blur,
    "noise": noise,
}


def distort_by_filters(
    pictures: Iterable[Picture], kind: str, level: int, *, seed: int | Rng, fps: float = 25.0
) -> Iterator[Picture]:
    """Applies one impairment; pictures come out in order, on the same clock, and at the end some may be missing.

    Args:
        pictures: At least one picture; even width and height.
        kind: A key of FILTER_DISTORTIONS.
        level: 1 to 5, whole.
        seed: Seed or generator.
        fps: Pictures a second.

    Raises:
        ValueError: Unknown kind or a level out of range.
    """
    if kind not in FILTER_DISTORTIONS:
        raise ValueError(f"no filter makes {kind!r}; one of {', '.join(FILTER_DISTORTIONS)}")
    if level not in (1, 2, 3, 4, 5):
        raise ValueError(f"levels are 1 to 5, got {level}")
    return FILTER_DISTORTIONS[kind](pictures, level, np.random.default_rng(seed), fps)


def _variance(taps: int) -> float:
    """Of a binomial kernel."""
    return (taps - 1) / 4


def _binomial(plane: str, variance: float) -> str:
    """Settings of ``unsharp`` that blur by a binomial kernel, mixed with the picture itself to meet the variance."""
    taps = next(n for n in range(3, _LARGEST_MATRIX + 1, 2) if _variance(n) >= variance - 1e-9)
    return f"{plane}x={taps}:{plane}y={taps}:{plane}a={-variance / _variance(taps):.4f}"


def _resized(pictures: Iterable[Picture], factor: float, down: str, up: str, fps: float) -> Iterator[Picture]:
    first, pictures = _first(pictures)
    height, width = first.y.shape
    small = [max(2, round(side / factor / 2) * 2) for side in (width, height)]
    steps = [("scale", f"{small[0]}:{small[1]}:flags={down}"), ("scale", f"{width}:{height}:flags={up}")]
    return _filtered(pictures, steps, fps)


def _first(pictures: Iterable[Picture]) -> tuple[Picture, Iterable[Picture]]:
    stream = iter(pictures)
    first = next(stream)
    return first, chain([first], stream)


def _filtered(pictures: Iterable[Picture], filters: Sequence[_Filter], fps: float) -> Iterator[Picture]:
    """Pictures through a chain of FFmpeg's filters."""
    first, pictures = _first(pictures)
    graph = av.filter.Graph()
    last = _source(graph, first, fps)
    for name, settings in filters:
        following = graph.add(name, settings)
        last.link_to(following)
        last = following
    last.link_to(graph.add("buffersink"))
    yield from _run(graph, pictures)


def _with_later(pictures: Iterable[Picture], ahead: int, mixer: _Filter, fps: float) -> Iterator[Picture]:
    """Each picture (A) mixed with the one that comes so many later (B)."""
    first, pictures = _first(pictures)
    graph = av.filter.Graph()
    source, both, mix = _source(graph, first, fps), graph.add("split"), graph.add(*mixer)
    later, clock = graph.add("trim", f"start_frame={ahead}"), graph.add("setpts", "PTS-STARTPTS")
    source.link_to(both)
    both.link_to(mix, 0, 0)
    both.link_to(later, 1, 0)
    later.link_to(clock)
    clock.link_to(mix, 0, 1)
    mix.link_to(graph.add("buffersink"))
    yield from _run(graph, pictures)


def _source(graph: av.filter.Graph, first: Picture, fps: float) -> av.filter.context.FilterContext:
    height, width = first.y.shape
    rate = f"{round(fps * 1000)}/1000"
    settings = f"video_size={width}x{height}:pix_fmt=yuv420p:time_base=1/{round(fps * 1000)}:frame_rate={rate}"
    return graph.add("buffer", settings + ":pixel_aspect=1/1:colorspace=bt709:range=tv")


def _run(graph: av.filter.Graph, pictures: Iterable[Picture]) -> Iterator[Picture]:
    graph.configure()
    for index, picture in enumerate(pictures):
        frame = to_frame(picture)
        frame.pts = index * 1000
        graph.vpush(frame)
        yield from _ready(graph)
    graph.vpush(None)
    yield from _ready(graph)


def _ready(graph: av.filter.Graph) -> Iterator[Picture]:
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield from_frame(frame)
