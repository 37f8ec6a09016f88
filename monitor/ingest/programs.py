"""Programs of a feed, and which of its video streams is looked at."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

# PyAV has no objects for programs; FFmpeg's own description of a container has them, in a form as old as ffprobe.
_PROGRAM = re.compile(r"^ {2}Program (\d+)")
_NO_PROGRAM = re.compile(r"^ {2}No Program")
_STREAM = re.compile(r"^ {2,4}Stream #\d+:(\d+)")
_NAME = re.compile(r"^ {6}service_name\s*: (.+)")

# The description is an INFO line of FFmpeg's log, whose level is the process's.
_log_level = threading.Lock()


@dataclass(frozen=True, slots=True)
class VideoChoice:
    """Which video of a feed is meant; nothing set: the best (largest) of the first program that has one.

    Attributes:
        program: Program number (service id) of MPEG-TS, or the variant's number of HLS, from 0.
        pid: Its PID.
        index: Its position among the video streams of the program (or of the feed), from 0.
    """

    program: int | None = None
    pid: int | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class ProgramStream:
    """One elementary stream, as its container describes it.

    Attributes:
        pid: PID in MPEG-TS, else the container's number for it.
        kind: video, audio, subtitle or data.
        codec: Its codec, None where there is no decoder.
        width: Of video, pixels; 0 where not known.
        height: Of video, pixels; 0 where not known.
        chosen: It is the one looked at.
    """

    pid: int
    kind: str
    codec: str | None = None
    width: int = 0
    height: int = 0
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """One program (service) of a feed.

    Attributes:
        number: Program number; None for streams that are in no program, as in files.
        name: Service name, where the feed has one.
        streams: Its streams, in the container's order.
    """

    number: int | None
    name: str | None
    streams: tuple[ProgramStream, ...]


class NoSuchVideo(Exception):
    """The video that was asked for is not there; the message lists what is."""


@dataclass(frozen=True, slots=True)
class _Listed:
    number: int | None
    name: str | None
    indexes: tuple[int, ...]


def choose_video(container: InputContainer, choice: VideoChoice) -> VideoStream | None:
    """The video stream that is meant; None where the feed has none and none was asked for.

    Raises:
        NoSuchVideo: What was asked for is not there.
    """
    streams = list(container.streams)
    videos = [
        stream
        for stream in streams
        if isinstance(stream, VideoStream) and not stream.disposition & Disposition.attached_pic
    ]
    listed = _listed(container) if choice.program is not None or len(videos) > 1 else []
    if choice.program is not None:
        members = [program for program in listed if program.number == choice.program]
        if not members:
            raise NoSuchVideo(f"has no program {choice.program}; programs: {_programs_text(listed, streams)}")
        indexes = {index for program in members for index in program.indexes}
        videos = [stream for stream in videos if stream.index in indexes]
    where = f"program {choice.program}" if choice.program is not None else "the feed"
    if choice.pid is not None:
        found = [stream for stream in videos if stream.id == choice.pid]
        if not found:
            raise NoSuchVideo(f"{where} has no video with PID {choice.pid}; video PIDs: {_pids_text(videos)}")
        return found[0]
    if choice.index is not None:
        if choice.index >= len(videos):
            count = f"{len(videos)} video stream{'' if len(videos) == 1 else 's'}"
            raise NoSuchVideo(f"{where} has no video {choice.index}, counted from 0; it has {count}")
        return videos[choice.index]
    if choice.program is not None:
        if not videos:
            raise NoSuchVideo(f"{where} has no video; programs: {_programs_text(listed, streams)}")
        return _best(videos)
    # Programs of HLS are variants of one another: there it is the best of all.
    if "hls" not in container.format.name.split(","):
        for program in listed:
            inside = [stream for stream in videos if stream.index in program.indexes]
            if program.number is not None and inside:
                return _best(inside)
    return _best(videos) if videos else None


def describe_programs(container: InputContainer, chosen: Stream) -> tuple[Program, ...]:
    """Every program with its streams; one without a number where the container knows no programs."""
    streams = {stream.index: stream for stream in container.streams}
    listed = _listed(container) or [_Listed(None, None, tuple(streams))]
    return tuple(
        Program(
            program.number,
            program.name,
            tuple(_described(streams[index], chosen) for index in program.indexes if index in streams),
        )
        for program in listed
    )


def _described(stream: Stream, chosen: Stream) -> ProgramStream:
    context = stream.codec_context
    codec = None if context is None else context.codec.canonical_name
    width, height = 0, 0
    if isinstance(stream, VideoStream) and context is not None:
        width, height = stream.codec_context.width, stream.codec_context.height
    return ProgramStream(stream.id, stream.type, codec, width, height, stream.index == chosen.index)


def _best(videos: Sequence[VideoStream]) -> VideoStream:
    """The largest picture, then the highest rate that a playlist tells, then the first.

    FFmpeg's own idea of "best" counts the frames that it happened to see while opening: of an HLS playlist it took the
    smallest variant because that stood first.
    """

    def rank(video: VideoStream) -> tuple[bool, int, int]:
        context = video.codec_context
        rate = video.metadata.get("variant_bitrate", "")
        known = context is not None
        return known, context.width * context.height if known else 0, int(rate) if rate.isdecimal() else 0

    return max(videos, key=rank)


def _listed(container: InputContainer) -> list[_Listed]:
    """Programs in the container's order, and the streams that are in none, last; none where it knows no programs."""
    describe = getattr(container, "dumps_format", None)  # not in PyAV's stubs
    if describe is None:
        return []
    with _log_level:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            text = str(describe())
        finally:
            av.logging.set_level(level)
    found: list[tuple[int | None, list[str], list[int]]] = []
    for line in text.splitlines():
        if program := _PROGRAM.match(line):
            found.append((int(program[1]), [], []))
        elif _NO_PROGRAM.match(line):
            found.append((None, [], []))
        elif found and (stream := _STREAM.match(line)):
            found[-1][2].append(int(stream[1]))
        elif found and not found[-1][2] and (name := _NAME.match(line)):
            found[-1][1].append(name[1].strip())
    return [_Listed(number, names[0] if names else None, tuple(indexes)) for number, names, indexes in found]


def _programs_text(listed: Iterable[_Listed], streams: Sequence[Stream]) -> str:
    kinds = {stream.index: stream.type for stream in streams}
    texts = []
    for program in listed:
        if program.number is not None:
            name = f" {program.name!r}" if program.name else ""
            videos = sum(kinds.get(index) == "video" for index in program.indexes)
            texts.append(f"{program.number}{name} ({videos} video)")
    return ", ".join(texts) or "none"


def _pids_text(videos: Sequence[Stream]) -> str:
    return ", ".join(str(video.id) for video in videos) or "none"
