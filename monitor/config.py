"""The one configuration tree: keys, units, defaults; read from YAML, environment and flags; all errors at once.

Whatever can change a score for the same input lives under ``model`` or ``sampling``. Everything else may be changed
freely. Unknown keys are errors. Text may name an environment variable as ``${NAME}`` or a file as ``${file:PATH}``:
secrets stay out of the configuration file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from monitor.broker_section import BrokerSection, HomeAssistantSection, Port
from monitor.errors import UsageError
from monitor.rule_sections import (
    Duration,
    ExpectSection,
    Id,
    Names,
    ProfileSection,
    Rules,
    ScheduleSection,
    Section,
)
from monitor.rules import Problem, rule_problems
from monitor.webhook_section import WebhookSection
from monitor.yaml_source import Key, YamlSource

_WORD = re.compile(r"[a-z0-9_-]+")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class ModelSection(Section):
    """Which bundle scores. Changes numbers."""

    bundle: str = Field("vqwatch-base", description="name of a bundle, or path of its folder")


class SamplingSection(Section):
    """The analysed grid. Changes numbers."""

    fps: float | None = Field(
        None,
        gt=0,
        le=120,
        description="samples a second; the bundle's own rate, or a lower one for which it has a head",
    )
    shed: bool = Field(True, description="lower the rate, and say so, while the machine is too small")
    shed_to: float | None = Field(None, gt=0, le=120, description="but never below this; null: the bundle's lowest")
    deinterlace: Literal["auto", "always", "never"] = Field(
        "auto", description="pictures made whole of their two fields first; auto: those flagged as interlaced"
    )


class EngineSection(Section):
    """Where and how features are computed."""

    name: Literal["openvino", "tensorrt", "torch"] = Field("openvino", description="inference library")
    precision: Literal["auto", "f32", "bf16", "f16", "int8"] = Field("auto", description="arithmetic")
    threads: int = Field(0, ge=0, description="CPU threads of inference; 0 is one per core")
    max_batch: int = Field(16, ge=1, le=256, description="most pictures a batch")
    max_wait: Duration = Field(0.04, description="longest wait for a batch to fill")


class HttpSection(Section):
    """Dashboard and health checks."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(8080, description="port; 0 takes a free one")
    enabled: bool = True
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s@?#]+$",
        description="address under which others reach this server, for the pictures of alerts; their path without it",
    )
    accept: bool | None = Field(
        None,
        description="whoever reaches it may accept a stream's present level as its usual one; "
        "null: where nobody but this machine reaches it",
    )

    @property
    def accepts(self) -> bool:
        """Whether levels may be accepted: as it is said, or where the host is this machine's own and not passed on."""
        if self.accept is not None:
            return self.accept
        return self.public_url is None and (self.host == "localhost" or _is_loopback(self.host))


class HistorySection(Section):
    """What is remembered of each stream, in the data directory."""

    enabled: bool = True
    keep_seconds: Duration = Field(48 * 3600.0, description="one-second values are kept for this long")
    keep_minutes: Duration = Field(90 * 86400.0, description="one-minute values are kept for this long")
    max_size: ByteSize = Field(
        ByteSize(4 * 10**9), description="most that it takes on the disk; older values go sooner"
    )


class EvidenceSection(Section):
    """What an alert leaves behind, in the data directory: its worst picture, the scores around it, and more."""

    enabled: bool = True
    stills: Duration = Field(
        30.0, gt=0, le=300, description="pictures are kept in memory for this long, one a second, for alerts to come"
    )
    width: int = Field(320, ge=64, le=1920, description="width of such a picture")
    keep: Duration = Field(30 * 86400.0, description="evidence is kept for this long")
    max_size: ByteSize = Field(ByteSize(10**9), description="most that it takes on the disk; the oldest goes sooner")


class IngestSection(Section):
    """How feeds are opened and how much may wait."""

    open_timeout: Duration = Field(4.0, description="longest silence while opening, for each of its two phases")
    read_timeout: Duration = Field(2.0, description="longest silence while reading")
    no_bytes: Duration = Field(3.0, description="nothing arrived for this long: the feed is lost")
    stall: Duration = Field(3.0, description="no picture with advancing time for this long: the feed has no video")
    still: Duration = Field(3.0, description="the picture has not changed, or repeats, for this long: it is frozen")
    longest_loop: Duration = Field(
        3.0, le=30, description="pictures that repeat with a period up to this are frozen; 0: never"
    )
    audio: bool = Field(False, description="decode the audio too, for the silence alert")
    mailbox: int = Field(75, ge=2, description="samples a stream that may wait for the engine")
    max_staleness: Duration = Field(3.0, description="samples older than this are dropped, not scored")
    max_backoff: Duration = Field(2.0, description="longest pause between two attempts to connect")
    decoder: Literal["cpu", "cuda", "cuda-kept"] = Field(
        "cpu",
        description="what decodes the video: the CPU, or NVDEC of an NVIDIA GPU, where it can; its pictures are copied "
        "to the CPU, or kept on the GPU and cut there (needs torch)",
    )
    readers: Literal["processes", "threads"] = Field(
        "processes", description="what reads and decodes a feed: a process of its own, or a thread of the monitor"
    )


class StreamSection(Section):
    """One feed."""

    id: Id = Field(description="its name in topics, metrics and logs")
    url: SecretStr = Field(
        description="udp://, rtp://, srt://, tcp://, rtsp(s)://, rtmp(s)://, http(s):// (HLS), or a file"
    )
    loop: bool = Field(False, description="start a file over at its end")
    program: int | None = Field(None, ge=0, le=65535, description="program number; the first with video without it")
    video_pid: int | None = Field(None, ge=0, description="PID of the video; the best of the program without it")
    video_index: int | None = Field(None, ge=0, description="or which of the program's videos, counted from 0")
    rtsp_transport: Literal["tcp", "udp", "udp_multicast", "http"] = Field("tcp", description="how RTSP is carried")
    audio: bool | None = Field(None, description="decode its audio too; null: as ingest.audio says")
    deinterlace: Literal["auto", "always", "never"] | None = Field(
        None, description="as sampling.deinterlace, for this stream; null: as that says"
    )
    tls_verify: bool = Field(True, description="refuse certificates that this machine does not trust")
    # May hold a passphrase or a header with a token.
    options: dict[str, str] = Field(
        {}, repr=False, description="FFmpeg options (of SRT: its query keys), over the defaults"
    )

    priority: int = Field(0, ge=-100, le=100, description="streams of lower priority are shed first")
    profile: str | None = Field(None, description="profile whose rules it takes")
    alerts: Rules = Field({}, description="changes to its rules, and new ones")
    maintenance: Names = Field((), description="schedules in which nothing raises")
    expect: ExpectSection | None = Field(None, description="what the feed should be, for the rule format")

    @model_validator(mode="after")
    def _one_video(self) -> StreamSection:
        if self.video_pid is not None and self.video_index is not None:
            raise ValueError("video_pid and video_index both choose the video; give one")
        return self

    def source_options(self) -> dict[str, str]:
        """Options of the source: those of the keys above where the URL has a use for them, under ``options``."""
        scheme = self.url.get_secret_value().partition("://")[0].lower()
        keys: dict[str, str] = {}
        if scheme in ("rtsp", "rtsps"):
            keys["rtsp_transport"] = self.rtsp_transport
        if not self.tls_verify and scheme != "srt":
            keys["tls_verify"] = "0"
        return keys | self.options


class Config(Section):
    """Everything."""

    node: Id = Field("vqwatch", description="name of this monitor in topics")
    data_dir: Path | None = Field(
        None, description="where the alert ledger, history and models are kept; none without it"
    )
    model: ModelSection = ModelSection()
    sampling: SamplingSection = SamplingSection()
    engine: EngineSection = EngineSection()
    broker: BrokerSection = BrokerSection()
    home_assistant: HomeAssistantSection | None = Field(
        None, description="announce each stream as a device of Home Assistant"
    )
    http: HttpSection = HttpSection()
    ingest: IngestSection = IngestSection()
    history: HistorySection = HistorySection()
    evidence: EvidenceSection = EvidenceSection()
    alerts: Rules = Field({}, description="changes to the default rules, by rule name, and new rules")
    schedules: dict[Id, ScheduleSection] = Field({}, description="windows of local time, by name")
    maintenance: Names = Field((), description="schedules in which nothing raises, on any stream")
    profiles: dict[Id, ProfileSection] = Field({}, description="rules that many streams share, by name")
    webhooks: tuple[WebhookSection, ...] = Field((), description="receivers of alerts over HTTP")
    streams: tuple[StreamSection, ...] = ()

    @model_validator(mode="after")
    def _unique_ids(self) -> Config:
        seen: set[str] = set()
        for stream in self.streams:
            if stream.id in seen:
                raise ValueError(f"two streams are called {stream.id!r}")
            seen.add(stream.id)
        seen = set()
        for webhook in self.webhooks:
            if webhook.name in seen:
                raise ValueError(f"two webhooks are called {webhook.name!r}")
            seen.add(webhook.name)
        return self


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration, and where it comes from.

    Attributes:
        config: What the file says, with the flags on top.
        files: The file, and the files of secrets that it names.
    """

    config: Config
    files: tuple[Path, ...]


#: Looks for what is wrong with a configuration beyond its own keys, such as files that are not there.
Check = Callable[[Config], Iterable[Problem]]


def load_config(path: Path, overrides: dict[str, Any] | None = None, *, secrets: bool = True) -> Config:
    """Reads a YAML file; see :func:`read_config`."""
    return read_config(path, overrides, secrets=secrets).config


def read_config(
    path: Path, overrides: dict[str, Any] | None = None, *, secrets: bool = True, checks: Iterable[Check] = ()
) -> LoadedConfig:
    """Reads a YAML file; ``overrides`` (nested dicts, from flags) win over it.

    Without ``secrets`` a URL or the broker may name a variable or file that is not there, and webhooks are left out:
    for commands that call nobody.

    Raises:
        UsageError: The file cannot be read, is not YAML, or holds wrong keys or values: one line for each, with the
            file, the line and the key.
    """
    source = YamlSource(path)
    if not secrets:
        source.data.pop("webhooks", None)
        source.data.pop("broker", None)
    problems: list[Problem] = []

    def complain(key: Key, message: str) -> None:
        if secrets or key[-1] != "url":
            problems.append(Problem(key, message))

    data = source.expanded(complain)
    try:
        config = _checked(_merged(data, overrides or {}), checks)
    except _Refused as refused:
        # What follows from a reference that leads nowhere is no mistake of its own.
        missing = {problem.key for problem in problems}
        problems += [problem for problem in refused.problems if problem.key not in missing]
    if problems:
        raise UsageError("\n".join(source.place(found.key) + _line(found) for found in problems))
    return LoadedConfig(config, (path, *sorted(source.files)))


def make_config(data: dict[str, Any], checks: Iterable[Check] = ()) -> Config:
    """A configuration from nested dicts, as YAML would give them.

    Raises:
        UsageError: Wrong keys or values, one line each; values are not repeated, they may be secret.
    """
    try:
        return _checked(data, checks)
    except _Refused as refused:
        raise UsageError("\n".join(map(_line, refused.problems))) from None


class _Refused(Exception):
    def __init__(self, problems: list[Problem]) -> None:
        super().__init__()
        self.problems = problems


def _checked(data: dict[str, Any], checks: Iterable[Check]) -> Config:
    """The configuration.

    Raises:
        _Refused: With all that is wrong.
    """
    config, problems = _validated(data)
    if problems:
        # What is right is looked at all the same, so that mistakes of different kinds come at once.
        wrong = [problem.key for problem in problems]
        rest, _ = _validated(_without(data, wrong))
        if rest is None:
            # Something that must be there was wrong: the whole part it belongs to is left out.
            parts = [key[: 2 if isinstance(data.get(str(key[0])), dict) else 1] for key in wrong if key]
            rest, _ = _validated(_without(data, parts))
        if rest is not None:
            problems += [p for p in _deeper_problems(rest, checks) if not any(_follows(p, key) for key in wrong)]
    elif config is not None:
        problems = _deeper_problems(config, checks)
        if not problems:
            return config
    raise _Refused(list(dict.fromkeys(problems)))


def _validated(data: dict[str, Any]) -> tuple[Config | None, list[Problem]]:
    try:
        return Config.model_validate(data), []
    except ValidationError as error:
        found = []
        for problem in error.errors(include_input=False, include_url=False):
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = "unknown key"
            found.append(Problem(problem["loc"], message))
        return None, found


def _deeper_problems(config: Config, checks: Iterable[Check]) -> list[Problem]:
    return [*rule_problems(config), *(found for check in checks for found in check(config))]


def _without(data: Any, keys: list[Key]) -> Any:
    """A copy without the keys; entries of lists stay, since their numbers are part of other keys."""
    here = {key[0] for key in keys if len(key) == 1}
    below: dict[str | int, list[Key]] = {}
    for key in keys:
        if len(key) > 1:
            below.setdefault(key[0], []).append(key[1:])
    if isinstance(data, dict):
        return {k: _without(v, below.get(k, [])) for k, v in data.items() if k not in here}
    if isinstance(data, list):
        return [_without(v, below.get(i, [])) for i, v in enumerate(data)]
    return data


def _follows(problem: Problem, wrong: Key) -> bool:
    """Whether a problem may come of another key having been left out: both are of one part, or it names that part."""
    if problem.key[: max(1, len(wrong) - 1)] == wrong[: max(1, len(wrong) - 1)]:
        return True
    names = {str(name) for group, name in pairwise(wrong) if group in ("alerts", "schedules", "profiles")}
    return not names.isdisjoint({*map(str, problem.key), *_WORD.findall(problem.message)})


def _line(problem: Problem) -> str:
    return f"{'.'.join(map(str, problem.key)) or 'configuration'}: {problem.message}"


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result
