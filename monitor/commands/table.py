"""The terminal table: every stream at a glance, worst first."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Group
from rich.table import Table
from rich.text import Text

from monitor.types import AlertEvent, Condition, Status, StreamId, StreamState

_BAND_STYLE = {"excellent": "green", "good": "green", "fair": "yellow", "poor": "red", "bad": "bold red"}
_BARS = "▁▂▃▄▅▆▇█"
_EVENTS = 8


class StatusTable:
    """Keeps what was last told and renders it; for ``rich.live.Live``."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._states: dict[StreamId, StreamState] = {}
        self._curves: dict[StreamId, deque[float | None]] = {}
        self._active: dict[tuple[StreamId, str], AlertEvent] = {}
        self._events: deque[Text] = deque(maxlen=_EVENTS)

    def state(self, stream: StreamId, state: StreamState) -> None:
        """A stream's second."""
        self._states[stream] = state
        self._curves.setdefault(stream, deque(maxlen=30)).append(state.score)

    def alert(self, event: AlertEvent) -> None:
        """A raise or clear."""
        key = (event.stream, event.rule)
        at = time.strftime("%H:%M:%S", time.localtime(event.cleared_at or event.raised_at))
        because = f", cause {event.cause}" if event.cause and event.rule == "quality" else ""
        if event.status == "raised":
            self._active[key] = event
            self._events.append(
                Text(f"{at}  {event.stream}: {event.rule} raised ({event.severity}{because})", "bold red")
            )
        else:
            self._active.pop(key, None)
            lasted = (event.cleared_at or event.raised_at) - event.raised_at
            self._events.append(Text(f"{at}  {event.stream}: {event.rule} cleared after {lasted:.0f} s", "green"))

    def forget(self, stream: StreamId) -> None:
        """A stream is no longer watched."""
        self._states.pop(stream, None)
        self._curves.pop(stream, None)
        for key in [key for key in self._active if key[0] == stream]:
            del self._active[key]

    def note(self, text: str) -> None:
        """Another line among the events."""
        self._events.append(Text(f"{time.strftime('%H:%M:%S')}  {text}", "cyan"))

    def __rich__(self) -> Group:
        table = Table(title=self._title, title_justify="left", expand=False)
        for name, justify in (
            ("stream", "left"), ("score", "right"), ("band", "left"), ("below its normal", "right"), ("cause", "left"),
            ("condition", "left"), ("last 30 s", "left"), ("fps", "right"), ("age", "right"), ("alerts", "left"),
        ):  # fmt: skip
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for id_, state in sorted(self._states.items(), key=self._urgency):
            table.add_row(*self._row(id_, state))
        return Group(table, *self._events)

    def _urgency(self, item: tuple[StreamId, StreamState]) -> tuple[bool, bool, float]:
        id_, state = item
        alerting = any(stream == id_ for stream, _ in self._active)
        score = state.score if state.score is not None else 101.0
        return (not alerting, state.status is not Status.UNKNOWN, score)

    def _row(self, id_: StreamId, state: StreamState) -> list[Text]:
        stale = state.status is Status.UNKNOWN
        style = "dim" if stale else _BAND_STYLE.get(state.band or "", "")
        cause = "" if state.cause in (None, "clean") else f"{state.cause} {(state.cause_p or 0) * 100:.0f} %"
        rules = ", ".join(rule for stream, rule in self._active if stream == id_)
        return [
            Text(id_, "bold"),
            Text("--" if state.score is None else f"{state.score:.0f}", style),
            Text(state.band or "unknown", style),
            Text("" if state.drop is None else f"{state.drop:.0f}"),
            Text(cause),
            Text(str(state.condition), "" if state.condition is Condition.OK else "bold"),
            Text("".join(_bar(v) for v in self._curves[id_]), style),
            Text("" if state.fps_in is None else f"{state.fps_in:.0f}"),
            Text("" if state.age_ms is None else f"{state.age_ms / 1000:.1f} s", "red" if stale else ""),
            Text(rules, "bold red"),
        ]


def _bar(score: float | None) -> str:
    return "·" if score is None else _BARS[min(7, int(score / 100 * 8))]
