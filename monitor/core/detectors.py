"""Black, frozen, looping and repeated pictures, and shots, told from a small luma.

All look at the picture as a viewer sees it at each tick, averaged down to about 160x88, where a pixel stands
for some 12x12 of full HD: grain and dither are gone, a channel logo is 16x7 and a clock's digit 3x4.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from monitor.core.loops import LONGEST_LOOP_S, LoopDetector
from monitor.core.shots import ShotCounter
from monitor.types import F32, U8, PictureFacts

I16 = npt.NDArray[np.int16]
Sums = npt.NDArray[np.integer]

#: Side of a block, pixels of the small luma: 1/20 of the width, about the size of a clock's digits.
BLOCK = 8
#: Distance of neighbouring blocks.
STRIDE = BLOCK // 2

# Black ------------------------------------------------------------------------------------------------------

#: Brighter pixels are not black: 10 % of full scale, the level of FFmpeg's blackdetect.
BRIGHT = 25
#: Black as a whole: 0 nominally, 16 where a limited-range slate is flagged as full range, and a little lift.
BLACK_MEAN = 20.0
#: So few bright pixels are noise (28 of 14,080, that is p99.8 <= BRIGHT). blackdetect's 2 % would call a
#: street at night with its lamps black.
NOISE_SHARE = 0.002
#: A logo or a bug: broadcasters keep them below 3 % of the picture.
LOGO_SHARE = 0.04
#: It stands in one or two places: touched blocks, as a share of all (65 of 819; a 16x7 logo touches up to 24).
#: Lamps and candles in a dark scene lie scattered.
LOGO_BLOCKS = 0.08
#: Around a logo the rest is one flat black: p95 - p5 of the other blocks' means. A dark scene has shades, a
#: slate has one level to within coding noise.
FLAT_SPREAD = 4.0

# Still ------------------------------------------------------------------------------------------------------

# Every limit is a level plus a share of the texture's SD, block by block, since coarse coding errs by texture.
# Measured on a frozen, heavily textured picture (SD 31) with fresh grain, encoded at 640x360: from one intra
# picture to the next its blocks pulse by up to 2.1 (level 1.2) with x264 at CRF 23, 5.8 to 8 (2.7 to 4) at
# CRF 36, 3.9 (1.6) with MPEG-2 at 0.8 Mbit/s; CRF 36 needs shares of 0.143 and 0.072. 1080p at CRF 30: 0.8 (0.4).
# Coding much coarser than CRF 36 hides a freeze of such a picture.

#: Mean |dY| against the reference above which the picture changed as a whole.
CHANGED_MEAN = 2.0
#: Mean |dY| of one block above which something moved in it; a clock's digit changes 8 of 64 pixels by 150: 19.
CHANGED_BLOCK = 4.0
#: Share of the texture's SD added to both.
TEXTURE_SHARE = 0.15
#: Signed mean dY of one block: noise averages out to sigma/8 here, so a low limit still sees motion in dark,
#: soft pictures, where |dY| is small.
CHANGED_BLOCK_LEVEL = 2.0
#: Share of the texture's SD added to it.
TEXTURE_SHARE_LEVEL = 0.08
#: One block is enough: a ticking clock in a still studio picture means that the feed lives. A single glitch in a
#: true freeze restarts its time once, which is the safe side.
CHANGED_BLOCKS = 1


# Repeated ---------------------------------------------------------------------------------------------------

#: A picture is its predecessor again if no more of its pixels differ from it by more than one level, and no more at
#: all. A repeat is coded as nothing, or nearly so; a locked camera's picture still lives by its noise.
REPEAT_CHANGED_SHARE = 0.005
REPEAT_TOUCHED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class _Black:
    black: bool
    logo: bool


class Detectors:
    """Black, freeze, loop and repeat detectors of one stream, in the order of its ticks.

    They outlive epochs and connections: a picture that stays the same over a jump in time, or comes back with each
    attempt of a server, has not changed.

    Stillness is measured against the picture at which it began, not against the last one: a slow pan or fade
    adds up until it counts, and noise does not. A camera locked on a motionless scene without visible noise
    is still as well; nothing in the picture tells it from a freeze. Not for several threads.

    Args:
        fps: Ticks per second of media time.
        longest_loop_s: Longest period of a loop that is looked for; 0 looks for none.
    """

    def __init__(self, fps: Fraction | float, longest_loop_s: float = LONGEST_LOOP_S) -> None:
        if fps <= 0:
            raise ValueError(f"fps must be positive, got {fps}")
        self._fps = float(fps)
        self._longest_loop_s = longest_loop_s
        self._loops = LoopDetector(fps, longest_loop_s)
        self._shots = ShotCounter()
        self._last: U8 | None = None
        self._reference: _Reference | None = None
        self._still_ticks = 0
        self._black_ticks = 0
        self._black = _Black(False, False)
        self._mean = 0.0

    def retime(self, fps: Fraction | float) -> None:
        """Goes on at another rate; times keep running, but a loop must be found again."""
        if float(fps) == self._fps:
            return
        ratio = float(fps) / self._fps
        self._still_ticks = round(self._still_ticks * ratio)
        self._black_ticks = round(self._black_ticks * ratio)
        self._fps = float(fps)
        self._loops = LoopDetector(fps, self._longest_loop_s)

    def push(self, luma: U8, held_gap: bool = False, *, held: bool = False, flat_share: float = 0.0) -> PictureFacts:
        """Adds one tick's picture.

        Args:
            luma: (H, W) uint8, full range 0-255, both sides at least 8; the same shape throughout an epoch (a
                new shape starts anew).
            held_gap: The grid shows the previous tick's picture because the source left a gap: ``luma`` is
                known to be the same and is not looked at again.
            held: The grid shows it again for its own reasons (a slower source): no repeat of the source.
            flat_share: Of the native picture; handed on.

        Returns:
            Facts after this tick. Seconds of stillness count from the reference picture (0 there); seconds of
            black include this tick.
        """
        repeated = held_gap
        if not (held_gap and self._reference is not None):
            if luma.ndim != 2 or luma.dtype != np.uint8 or min(luma.shape) < BLOCK:
                raise ValueError(f"luma must be (H, W) uint8 of 8x8 or more, got {luma.shape} {luma.dtype}")
            self._look(luma)
            repeated = repeated or (not held and self._repeats(luma))
            if not held:
                self._shots.push(luma)
            self._last = luma
        elif self._reference is not None:
            self._still_ticks += 1
        assert self._last is not None
        self._black_ticks = self._black_ticks + 1 if self._black.black else 0
        return PictureFacts(
            luma_mean=self._mean,
            still_s=self._still_ticks / self._fps,
            black_s=self._black_ticks / self._fps,
            logo=self._black.logo,
            loop_s=self._loops.push(self._last),
            loop_period_s=self._loops.period_s,
            repeated=repeated,
            flat_share=flat_share,
            shot=self._shots.shot,
        )

    def _repeats(self, luma: U8) -> bool:
        last = self._last
        if last is None or last.shape != luma.shape:
            return False
        change = np.maximum(luma, last) - np.minimum(luma, last)
        if np.count_nonzero(change > 1) > REPEAT_CHANGED_SHARE * change.size:
            return False
        return int(np.count_nonzero(change)) <= REPEAT_TOUCHED_SHARE * change.size

    def _look(self, luma: U8) -> None:
        self._mean = float(luma.mean())
        self._black = _black(luma, self._mean)
        picture = luma.astype(np.int16)
        if self._reference is None or self._reference.shape != picture.shape or self._reference.differs(picture):
            self._reference, self._still_ticks = _Reference(picture), 0
        else:
            self._still_ticks += 1


def _block_sums(plane: Sums) -> Sums:
    """Sums of the 8x8 blocks at every fourth row and column, (H // 4 - 1, W // 4 - 1), in the plane's own type.

    They overlap by half so that whatever is up to 5 pixels wide and high lies in one block as a whole. A
    remainder at the right and bottom is left out. 64 values of 9 bits fit in 16.
    """
    rows, columns = plane.shape[0] // STRIDE, plane.shape[1] // STRIDE
    # Whole lines are added at a time: a sum over both axes takes three times as long.
    lines = plane[: rows * STRIDE, : columns * STRIDE].reshape(rows, STRIDE, columns * STRIDE)
    bands = np.add.reduce(lines, axis=1, dtype=plane.dtype)
    cells = bands[:, ::STRIDE] + bands[:, 1::STRIDE]
    for column in range(2, STRIDE):
        cells += bands[:, column::STRIDE]
    pairs = cells[:-1] + cells[1:]
    sums: Sums = pairs[:, :-1] + pairs[:, 1:]
    return sums


def _block_means(plane: Sums) -> F32:
    """Means of the same blocks; exact."""
    return _block_sums(plane).astype(np.float32) / np.float32(BLOCK * BLOCK)


class _Reference:
    """The picture at which stillness began.

    Args:
        picture: (H, W) int16 luma.
    """

    def __init__(self, picture: I16) -> None:
        self._picture = picture
        self._texture: F32 | None = None  # SD of each block; only pictures that may be still need it

    @property
    def shape(self) -> tuple[int, ...]:
        return self._picture.shape

    def differs(self, picture: I16) -> bool:
        """Whether the content of ``picture`` is another."""
        difference = picture - self._picture
        levels = np.abs(_block_means(difference))
        blocks = _block_means(np.abs(difference))
        if not ((levels > CHANGED_BLOCK_LEVEL) | (blocks > CHANGED_BLOCK)).any():
            return float(blocks.mean()) > CHANGED_MEAN and self._differs_as_a_whole(blocks)
        texture = self._block_sd()
        changed = (levels > CHANGED_BLOCK_LEVEL + TEXTURE_SHARE_LEVEL * texture) | (
            blocks > CHANGED_BLOCK + TEXTURE_SHARE * texture
        )
        return int(np.count_nonzero(changed)) >= CHANGED_BLOCKS or self._differs_as_a_whole(blocks)

    def _differs_as_a_whole(self, blocks: F32) -> bool:
        return float(blocks.mean()) > CHANGED_MEAN + TEXTURE_SHARE * float(self._block_sd().mean())

    def _block_sd(self) -> F32:
        if self._texture is None:
            variance = _block_means(self._picture.astype(np.int32) ** 2) - _block_means(self._picture) ** 2
            self._texture = np.sqrt(np.maximum(variance, 0))
        return self._texture


def _black(luma: U8, mean: float) -> _Black:
    bright = luma > BRIGHT
    share = np.count_nonzero(bright) / bright.size
    if share <= NOISE_SHARE:
        return _Black(mean <= BLACK_MEAN, False)
    if share > LOGO_SHARE:
        return _Black(False, False)
    touched = _block_sums(bright.astype(np.int16)) > 0
    if np.count_nonzero(touched) > LOGO_BLOCKS * touched.size:
        return _Black(False, False)
    rest = _block_means(luma.astype(np.int16))[~touched]
    low, high = np.percentile(rest, (5, 95))
    black = float(rest.mean()) <= BLACK_MEAN and float(high - low) <= FLAT_SPREAD
    return _Black(black, black)
