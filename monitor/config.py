"""The one configuration tree: keys, units, defaults; read from YAML, environment and flags; all errors at once.

Whatever can change a score for the same input lives under ``model`` or ``sampling``. Everything else may be changed
freely. Unknown keys are errors. Text may name an environment variable as ``${NAME}``: secrets stay out of the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

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
from monitor.rules import rule_problems
from monitor.webhook_section import WebhookSection

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
Port = Annotated[int, Field(ge=0, le=65535)]


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
    deinterlace: Literal["auto", "always", "never"] = Field(
        "auto", description="pictures made whole of their two fields first; auto: those flagged as interlaced"
    )


class EngineSection(Section):
    """Where and how features are computed."""

    name: Literal["openvino", "torch"] = Field("openvino", description="inference library")
    precision: Literal["auto", "f32", "bf16", "int8"] = Field("auto", description="arithmetic")
    threads: int = Field(0, ge=0, description="CPU threads of inference; 0 is one per core")
    max_batch: int = Field(16, ge=1, le=256, description="most pictures a batch")
    max_wait: Duration = Field(0.04, description="longest wait for a batch to fill")


class BrokerSection(Section):
    """Where results are published."""

    url: SecretStr = Field(SecretStr("embedded"), description="embedded, mqtt://[user:pass@]host[:port] or mqtts://...")
    host: str = Field("127.0.0.1", description="address the embedded broker listens on")
    mqtt_port: Port = Field(1883, description="TCP port of the embedded broker; 0 takes a free one")
    ws_port: Port = Field(
        9001, description="WebSocket port of the broker, for the dashboard; 0 takes a free one (embedded)"
    )


class HttpSection(Section):
    """Dashboard and health checks."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(8080, description="port; 0 takes a free one")
    enabled: bool = True


class HistorySection(Section):
    """What is remembered of each stream, in the data directory."""

    enabled: bool = True
    keep_seconds: Duration = Field(48 * 3600.0, description="one-second values are kept for this long")
    keep_minutes: Duration = Field(90 * 86400.0, description="one-minute values are kept for this long")
    max_size: ByteSize = Field(
        ByteSize(4 * 10**9), description="most that it takes on the disk; older values go sooner"
    )


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
    http: HttpSection = HttpSection()
    ingest: IngestSection = IngestSection()
    history: HistorySection = HistorySection()
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


def load_config(path: Path, overrides: dict[str, Any] | None = None, *, secrets: bool = True) -> Config:
    """Reads a YAML file; ``overrides`` (nested dicts, from flags) win over it.

    Without ``secrets`` a URL may name a variable that is not set, and webhooks are left out: for commands that call
    nobody.

    Raises:
        UsageError: The file cannot be read, is not YAML, or holds wrong keys or values: one line for each, with the
            file, the line and the key.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{path}: {reason}") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise UsageError(f"{where}: not YAML: {getattr(error, 'problem', None) or 'cannot be parsed'}") from error
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}:1: a configuration is a mapping of keys to values")
    if not secrets:
        data.pop("webhooks", None)
    problems: list[str] = []

    def complain(key: tuple[Any, ...], message: str) -> None:
        if secrets or key[-1] != "url":
            problems.append(f"{_place(path, root, key)}{message}")

    data = _expand(data, (), complain)
    if problems:
        raise UsageError("\n".join(problems))
    return make_config(_merged(data, overrides or {}), lambda key: _place(path, root, key))


def make_config(data: dict[str, Any], place: Any = None) -> Config:
    """A configuration from nested dicts.

    Args:
        data: As YAML would give it.
        place: From a key path to the prefix of its error line.

    Raises:
        UsageError: Wrong keys or values, one line each; values are not repeated, they may be secret.
    """
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            key = problem["loc"]
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = "unknown key"
            name = ".".join(str(part) for part in key) or "configuration"
            lines.append(f"{place(key) if place else ''}{name}: {message}")
        raise UsageError("\n".join(lines)) from None
    problems = [
        f"{place(found.key) if place else ''}{'.'.join(map(str, found.key))}: {found.message}"
        for found in rule_problems(config)
    ]
    if problems:
        raise UsageError("\n".join(problems))
    return config


def _expand(value: Any, key: tuple[Any, ...], complain: Any) -> Any:
    """Replaces ``${NAME}`` by environment variables."""
    if isinstance(value, dict):
        return {k: _expand(v, (*key, k), complain) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, (*key, i), complain) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            complain(key, f"{'.'.join(map(str, key))}: environment variable {match[1]} is not set")
            return ""
        return os.environ[match[1]]

    return _VARIABLE.sub(variable, value)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _place(path: Path, root: yaml.Node | None, key: tuple[Any, ...]) -> str:
    """``file:line: `` of a key, or of the nearest parent that stands in the file."""
    node, line = root, 1
    for part in key:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if getattr(name, "value", None) == str(part):
                    line, found = name.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return f"{path}:{line}: "
