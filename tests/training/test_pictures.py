from __future__ import annotations

import numpy as np
import pytest

from training.pictures import Picture, transcode


@pytest.mark.parametrize("fps", [12.5, 14.985, 28.03, 23.976, 25.0, 59.94])
@pytest.mark.parametrize("codec", ["mpeg2video", "libx264"])
def test_every_rate_of_a_source_can_be_encoded(codec: str, fps: float) -> None:
    grey = np.full((72, 128), 128, np.uint8)
    pictures = [Picture(np.full((144, 256), 20 * t, np.uint8), grey, grey) for t in range(5)]
    quantiser = 4 if codec == "mpeg2video" else None
    coded = list(transcode(pictures, codec, {}, fps=fps, quantiser=quantiser))
    assert [round(float(p.y.mean())) for p in coded] == pytest.approx([20 * t for t in range(5)], abs=2)
