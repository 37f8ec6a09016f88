"""``vqwatch simulate``: what would these rules have raised? Recorded seconds, replayed through alert rules."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.commands.history_arguments import Span, add_history_arguments, chosen, open_history, span_of
from monitor.config import Config, load_config
from monitor.core.moments import moment_text
from monitor.core.record import Record
from monitor.core.record_text import BadRow, record_of_texts
from monitor.core.replay import Incident, Replay
from monitor.errors import UsageError
from monitor.rules import rule_problems, rules_of
from monitor.store.history_file import Kind
from monitor.types import StreamId

#: The two sets of rules, as --json names them.
IN_FORCE, PROPOSED = "in_force", "proposed"


@dataclass(slots=True)
class Replayed:
    """One stream under both sets of rules.

    Attributes:
        replays: By set.
        seconds: How many were replayed.
        first_ms: Time of the first, unix ms.
        last_ms: Time of the last.
    """

    replays: dict[str, Replay]
    seconds: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def push(self, record: Record) -> None:
        """Replays a second."""
        for replay in self.replays.values():
            replay.push(record)
        if not self.seconds:
            self.first_ms = record.ts
        self.seconds += 1
        self.last_ms = record.ts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "--rules", type=Path, required=True, metavar="FILE",
        help="a configuration, or just its alerts, profiles, schedules and maintenance",
    )  # fmt: skip
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="configuration in force, to compare with (default rules)"
    )
    parser.add_argument("csv", nargs="?", type=Path, metavar="CSV", help="what `history export` wrote, instead of")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where `run` kept the history")
    add_history_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Prints what each set of rules would have raised."""
    if args.csv is not None and args.data_dir is not None:
        raise UsageError("simulate replays a CSV or the history of --data-dir, not both")
    in_force = Config() if args.config is None else load_config(args.config, secrets=False)
    proposed = _with_streams(load_config(args.rules, secrets=False), in_force, args)
    span = span_of(args)
    sets = {IN_FORCE: in_force, PROPOSED: proposed}
    found: dict[StreamId, Replayed] = {}
    with ExitStack() as stack:
        if args.csv is not None:
            rows = _csv_rows(args.csv, args.stream, span)
        else:
            history = stack.enter_context(open_history(args.data_dir or in_force.data_dir or proposed.data_dir))
            streams = chosen(args.stream, history.streams, history.path)
            rows = (
                (stream, record, str(history.path))
                for stream in streams
                for record in history.records(Kind.SECONDS, stream, span.from_ms, span.to_ms)
            )
        for stream, record, place in rows:
            if stream not in found:
                found[stream] = _begun(stream, sets)
            try:
                found[stream].push(record)
            except ValueError as error:
                raise UsageError(f"{place}: time: {error}; rows of a stream go forward in time") from error
    if not found:
        raise UsageError(
            f"no seconds to replay{'' if args.begin is None and args.end is None else ' in that time'}; "
            "the history keeps seconds for history.keep_seconds (48h)"
        )
    report = _report(found)
    if args.json:
        print(json.dumps(report))
    else:
        print("\n".join(_lines(report)))
    return 0


def _with_streams(proposed: Config, in_force: Config, args: argparse.Namespace) -> Config:
    """The proposed rules; without streams of their own they are for those in force."""
    if proposed.streams or not in_force.streams:
        return proposed
    whole = proposed.model_copy(update={"streams": in_force.streams})
    problems = rule_problems(whole)
    if problems:
        told = (f"{args.rules}: with {'.'.join(map(str, p.key))} of {args.config}: {p.message}" for p in problems)
        raise UsageError("\n".join(told))
    return whole


def _begun(stream: StreamId, sets: dict[str, Config]) -> Replayed:
    replays = {}
    for name, config in sets.items():
        section = next((section for section in config.streams if section.id == stream), None)
        alerting = rules_of(config, section)
        replays[name] = Replay(stream, alerting.rules, alerting.maintenance)
    return Replayed(replays)


def _csv_rows(path: Path, wanted: list[str], span: Span) -> Iterator[tuple[StreamId, Record, str]]:
    """Seconds of a file, each with its place.

    Raises:
        UsageError: It cannot be read, with file, line and column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, restval="")
            for row in rows:
                place = f"{path}:{rows.line_num}"
                try:
                    stream, record = record_of_texts(row)
                except BadRow as error:
                    raise UsageError(f"{place}: {error}") from error
                if record.seconds != 1:
                    raise UsageError(
                        f"{place}: seconds: this row is {record.seconds} of them; rules replay seconds "
                        "(history export --resolution 1s)"
                    )
                if (not wanted or stream in wanted) and span.from_ms <= record.ts < span.to_ms:
                    yield StreamId(stream), record, place
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a CSV file in UTF-8"
        raise UsageError(f"{path}: {reason}") from error


def _report(found: dict[StreamId, Replayed]) -> dict[str, Any]:
    """Everything, as --json prints it."""
    rules = []
    alerts = []
    for stream, replayed in found.items():
        by_set = {name: replay.incidents for name, replay in replayed.replays.items()}
        names = dict.fromkeys(one.event.rule for incidents in by_set.values() for one in incidents)
        for rule in names:
            own = {name: [one for one in some if one.event.rule == rule] for name, some in by_set.items()}
            rules.append({"stream": stream, "rule": rule} | {name: _summed(some) for name, some in own.items()})
            for name, other in ((IN_FORCE, PROPOSED), (PROPOSED, IN_FORCE)):
                alerts += [_told(name, one, own[other]) for one in own[name]]
    alerts.sort(key=lambda alert: (alert["raised_at"], alert["stream"], alert["rule"], alert["rules"]))
    total = {
        name: _summed([one for replayed in found.values() for one in replayed.replays[name].incidents])
        for name in (IN_FORCE, PROPOSED)
    }
    return {
        "from": moment_text(min(replayed.first_ms for replayed in found.values())),
        "to": moment_text(max(replayed.last_ms for replayed in found.values())),
        "streams": len(found),
        "seconds": sum(replayed.seconds for replayed in found.values()),
        **total,
        "by_rule": rules,
        "alerts": alerts,
    }


def _summed(incidents: Iterable[Incident]) -> dict[str, float]:
    durations = [one.duration_s for one in incidents]
    return {
        "raised": len(durations),
        "up_s": round(sum(durations), 3),
        "longest_s": round(max(durations, default=0.0), 3),
    }


def _told(name: str, one: Incident, others: Iterable[Incident]) -> dict[str, Any]:
    event = one.event
    told = {
        "rules": name,
        "stream": event.stream,
        "rule": event.rule,
        "severity": str(event.severity),
        "raised_at": moment_text(round(event.raised_at * 1000)),
        "cleared_at": None if event.cleared_at is None else moment_text(round(event.cleared_at * 1000)),
        "duration_s": round(one.duration_s, 3),
        "value": event.value,
        "threshold": event.threshold,
        "cause": event.cause,
        "in_both": any(one.overlaps(other) for other in others),
    }
    return {key: value for key, value in told.items() if value is not None}


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"{report['streams']} streams, {_span(report['seconds'])} of seconds, {report['from']} to {report['to']}"
    head = ("stream", "rule", "raised", "up", "longest", "raised", "up", "longest")
    rows = [
        [row["stream"], row["rule"], *_cells(row[IN_FORCE]), *_cells(row[PROPOSED])]
        for row in report["by_rule"]
    ]  # fmt: skip
    rows.append(["all", "", *_cells(report[IN_FORCE]), *_cells(report[PROPOSED])])
    widths = [max(len(row[n]) for row in [list(head), *rows]) for n in range(len(head))]
    half = sum(widths[2:5]) + 4
    yield ""
    yield f"{'':{widths[0] + widths[1] + 4}}{'in force':{half}}  with --rules"
    for row in [list(head), *rows]:
        yield "  ".join(
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
    if report["alerts"]:
        yield ""
        yield "- in force alone, + with --rules alone; both where they overlap: < in force, > with --rules"
        for alert in report["alerts"]:
            yield _alert_line(alert)


def _alert_line(alert: dict[str, Any]) -> str:
    sign = {(IN_FORCE, False): "-", (PROPOSED, False): "+", (IN_FORCE, True): "<", (PROPOSED, True): ">"}
    lasting = _span(alert["duration_s"]) + ("" if "cleared_at" in alert else ", still up")
    because = f", cause {alert['cause']}" if alert["rule"] == "quality" and "cause" in alert else ""
    # Of one that is still up the newest event is its raise.
    when = "worst" if "cleared_at" in alert else "when raised"
    worst = f", {when} {alert['value']:g}" if "value" in alert else ""
    return (
        f"{sign[alert['rules'], alert['in_both']]} {alert['raised_at']} {alert['stream']} {alert['rule']} "
        f"({alert['severity']}) for {lasting}{worst}{because}"
    )


def _cells(sums: dict[str, float]) -> list[str]:
    if not sums["raised"]:
        return ["0", "-", "-"]
    return [str(sums["raised"]), _span(sums["up_s"]), _span(sums["longest_s"])]


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
