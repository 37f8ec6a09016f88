"""Random edits of a configuration: what an operator may do to it, and what goes wrong when one does."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

import yaml

Data = dict[str, Any]


def valid_edit(random_: random.Random, data: Data, clip: str) -> tuple[Data, set[str]]:
    """Another valid configuration, and the ids of the streams whose feed the edit touches."""
    data = deepcopy(data)
    streams: list[Data] = data["streams"]
    others = [stream for stream in streams if stream["id"] != "kept"]
    touched: set[str] = set()
    for _ in range(random_.choice((1, 1, 2, 3))):
        kind = random_.choice(("add", "remove", "feed", "rule", "profile", "own", "expect", "hook", "quiet"))
        if kind == "add" and len(streams) < 5:
            new = {"id": f"s{random_.randrange(10)}", "url": clip, "loop": True}
            if new["id"] not in {stream["id"] for stream in streams}:
                streams.append(new)
                touched.add(new["id"])
        elif kind == "remove" and others:
            gone = others.pop(random_.randrange(len(others)))
            streams.remove(gone)
            touched.add(gone["id"])
        elif kind == "feed" and others:
            stream = random_.choice(others)
            stream["options"] = {"probesize": str(random_.randrange(50_000, 99_999))}
            touched.add(stream["id"])
        elif kind == "rule":
            raise_ = random_.randrange(11, 90)
            data["alerts"] = {"quality": {"raise": raise_, "clear": 10, "raise_for": f"{random_.randrange(1, 60)}s"}}
        elif kind == "profile":
            data["profiles"] = {"sport": {"alerts": {"dull": {"metric": "score", "raise": random_.randrange(1, 50)}}}}
            random_.choice(streams)["profile"] = "sport"
        elif kind == "own":
            severity = random_.choice(("minor", "major", "critical"))
            random_.choice(streams)["alerts"] = {"black": {"severity": severity}}
        elif kind == "expect":
            random_.choice(streams)["expect"] = {"width": random_.choice((320, 640))}
        elif kind == "hook":
            data["webhooks"] = [{"name": "a", "url": f"http://127.0.0.1:9/{random_.randrange(9)}"}]
        elif kind == "quiet":
            data["schedules"] = {"night": {"windows": [f"daily 0{random_.randrange(1, 5)}:00-05:30"]}}
            data["maintenance"] = ["night"]
    return data, touched


_MISTAKES: tuple[tuple[str, tuple[str | int, ...], Any], ...] = (
    ("nodde", ("nodde",), 1),
    ("node", ("node",), "Not A Node"),
    ("engine.max_batch", ("engine", "max_batch"), 0),
    ("ingest.stall", ("ingest", "stall"), "3 parsecs"),
    ("http.port", ("http", "port"), 70_000),
    ("broker.protocol", ("broker", "protocol"), "4"),
    ("streams.0.rtsp_transport", ("streams", 0, "rtsp_transport"), "fast"),
    ("streams.0.profile", ("streams", 0, "profile"), "nobody"),
    ("streams.0.url", ("streams", 0, "url"), "gopher7://h/x"),
    ("maintenance.0", ("maintenance",), ["never"]),
    ("alerts.odd", ("alerts", "odd"), {"raise": 3}),
    ("webhooks.0.url", ("webhooks",), [{"name": "a", "url": "nowhere"}]),
    ("streams.0.options.x", ("streams", 0, "options"), {"x": "${NOT_SET_ANYWHERE}"}),
)


def invalid_edit(random_: random.Random, data: Data) -> tuple[Data, set[str]]:
    """An invalid configuration, and the keys at which it must be refused."""
    data = deepcopy(data)
    wrong: set[str] = set()
    mistakes = random_.sample(_MISTAKES, random_.choice((1, 2, 3)))
    # A mistake in the form of a stream hides what is wrong with the sense of the same stream.
    if any(key == "streams.0.rtsp_transport" for key, *_ in mistakes):
        mistakes = [m for m in mistakes if m[0] not in ("streams.0.profile", "streams.0.url")]
    for key, path, value in mistakes:
        place: Any = data
        for part in path[:-1]:
            place = place[part] if isinstance(place, list) else place.setdefault(part, {})
        place[path[-1]] = value
        wrong.add(key)
    return data, wrong


def line_of(text: str, key: str) -> int:
    """The line on which a key such as ``streams.0.url`` stands."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 0
    for part in key.split("."):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
        else:
            name, node = next(pair for pair in node.value if pair[0].value == part)
            line = name.start_mark.line + 1
    return line
