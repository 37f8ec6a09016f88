from __future__ import annotations

import pytest

from monitor.core.histogram import Histogram


def test_a_value_counts_in_the_first_range_that_holds_it() -> None:
    histogram = Histogram((1.0, 2.0, 5.0))
    for value in (0.0, 1.0, 1.5, 5.0, 5.1, 100.0):
        histogram.observe(value)
    assert histogram.counts == (2, 1, 1, 2)
    assert histogram.total == pytest.approx(112.6)


@pytest.mark.parametrize("bounds", [(), (2.0, 1.0), (1.0, 1.0)])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        Histogram(bounds)
