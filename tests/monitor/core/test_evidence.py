from __future__ import annotations

from collections.abc import Callable
from itertools import count

from monitor.core.alert_book import AlertBook
from monitor.core.alerts import AlertRule
from monitor.core.evidence import AlertTrail, Evidence, Moment, Still
from monitor.types import AlertEvent, Condition, Severity, Status, StreamId

UTC_S = 1_795_341_600.0
DROP = AlertRule("quality", "drop", 15.0, 10.0, 3.0, 5.0, Severity.MAJOR)
LOST = AlertRule("lost", "lost", 1.0, 0.0, 2.0, 5.0, Severity.CRITICAL)


def still(at_s: float) -> Still:
    return Still(at_s, f"picture of {at_s}".encode(), 320, 180)


def one_a_second(until_s: float) -> Callable[[float], Still]:
    """A ring with a still at each whole second up to one."""
    return lambda at_s: still(min(float(round(at_s)), until_s))


def play(
    trail: AlertTrail, book: AlertBook, drops: list[float | None], *, lost_from: int | None = None
) -> list[Evidence]:
    found = []
    for second, drop in enumerate(drops):
        lost = float(lost_from is not None and second >= lost_from)
        metrics = {"drop": drop, "lost": lost, "score": None if drop is None else 90.0 - drop}
        events = book.step(float(second), UTC_S + second, metrics, "blur", 0.7)
        moment = Moment(
            float(second), round((UTC_S + second) * 1000), 1.0, Status.OK, Condition.OK, metrics, 90.0, "blur", 0.7
        )
        found += trail.second(moment, events)
    return found


def book_of(rule: AlertRule, **more: object) -> AlertBook:
    numbers = count(1)
    return AlertBook(StreamId("cam"), [rule], lambda: f"id{next(numbers)}", **more)  # type: ignore[arg-type]


def test_a_raise_and_its_clear_each_leave_the_worst_picture_the_seconds_around_it_and_the_values() -> None:
    book = book_of(DROP)
    trail = AlertTrail(book, one_a_second(100.0))
    raised, cleared = play(trail, book, [0.0] * 20 + [20.0, 40.0, 30.0, 20.0, 50.0, 20.0] + [0.0] * 10)
    assert (raised.event.status, cleared.event.status) == ("raised", "cleared")
    assert raised.worst is not None
    assert raised.worst.metrics["drop"] == 40.0
    # Its score is of pictures that came 1 to 2 s before it.
    assert raised.still == still(20.0)
    assert raised.still_ts == round((UTC_S + 20) * 1000)
    assert [moment.at_s for moment in raised.curve] == [float(n) for n in range(24)]
    assert raised.raised is not None
    assert (raised.raised.at_s, raised.cleared) == (23.0, None)
    assert cleared.raised == raised.raised
    assert cleared.cleared is not None
    assert cleared.cleared.at_s == 31.0
    # It got worse while it was up.
    assert cleared.worst is not None
    assert (cleared.worst.at_s, cleared.worst.metrics["drop"]) == (24.0, 50.0)
    assert cleared.still != raised.still
    assert [moment.at_s for moment in cleared.curve] == [float(n) for n in range(32)]
    assert cleared.whole


def test_the_picture_of_a_loss_is_the_last_one_before_it() -> None:
    book = book_of(LOST)
    trail = AlertTrail(book, one_a_second(7.0))
    (raised,) = play(trail, book, [0.0] * 10 + [None] * 5, lost_from=10)
    assert raised.still == still(7.0)
    assert raised.worst is not None
    assert raised.worst.at_s == 10.0


def test_a_stream_that_never_had_a_picture_leaves_none() -> None:
    book = book_of(LOST)
    (raised,) = play(AlertTrail(book, lambda at_s: None), book, [None] * 5, lost_from=0)
    assert (raised.still, raised.still_ts) == (None, None)


def test_the_curve_of_a_day_is_bounded_and_keeps_its_worst_second_and_both_ends() -> None:
    book = book_of(DROP)
    trail = AlertTrail(book, one_a_second(1e9), most_points=100)
    drops: list[float | None] = [0.0] * 30 + [20.0] * 5000 + [77.0] + [20.0] * 4000 + [0.0] * 6
    _, cleared = play(trail, book, drops)
    times = [moment.at_s for moment in cleared.curve]
    assert len(times) <= 100
    assert times == sorted(times)
    assert times[0] <= 30.0
    assert times[-1] >= len(drops) - 300
    assert max(moment.metrics["drop"] or 0.0 for moment in cleared.curve) == 77.0


def test_an_alert_of_an_earlier_run_keeps_its_picture_unless_it_gets_worse() -> None:
    up = AlertEvent("old", 4, StreamId("cam"), "quality", Severity.MAJOR, "raised", UTC_S - 50, value=30.0)
    for drops, expected in (([25.0] * 3, None), ([25.0, 44.0, 25.0], still(0.0))):
        book = book_of(DROP, active=[up])
        (cleared,) = play(AlertTrail(book, one_a_second(1e9)), book, [*drops, *[0.0] * 8])
        assert cleared.event.id == "old"
        assert not cleared.whole
        assert (None if cleared.still is None else cleared.still.received_s) == (expected and expected.received_s)
