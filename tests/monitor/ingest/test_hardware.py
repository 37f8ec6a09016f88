"""Claims of monitor.ingest.hardware, on machines without a device."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from av.codec.hwaccel import HWAccel

from monitor.ingest import hardware
from monitor.ingest.hardware import Decoder, device_for, device_of
from monitor.ingest.pyav_source import PyAvSource
from monitor.types import StreamId


def has_cuda() -> bool:
    try:
        device_for(Decoder.CUDA)
    except OSError:
        return False
    return True


without_cuda = pytest.mark.skipif(has_cuda(), reason="this machine has a GPU that decodes")
with_cuda = pytest.mark.skipif(not has_cuda(), reason="this machine has no GPU that decodes")


def test_the_cpu_needs_no_device() -> None:
    assert device_for(Decoder.CPU) is None


@without_cuda
def test_a_device_that_is_missing_is_told_in_words() -> None:
    with pytest.raises(OSError, match="no working cuda device: "):
        device_for(Decoder.CUDA)


@without_cuda
@pytest.mark.parametrize("wanted", list(Decoder))
def test_a_feed_is_decoded_by_the_cpu_where_its_device_is_missing_and_the_log_says_so_once(
    wanted: Decoder, clip_maker: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.4, size=(160, 90))
    name = f"cam-{wanted}"
    for _ in range(2):
        source = PyAvSource(str(clip), stream=StreamId(name), live=False, decoder=wanted)
        assert source.open().decoder is None
        assert len(list(source.frames(threading.Event(), 1))) == 10
    told = [r.getMessage() for r in caplog.records if "event=decoder_fallback" in r.getMessage()]
    assert len(told) == (wanted is not Decoder.CPU)
    assert all(f"stream={name} event=decoder_fallback decoder=cpu no working cuda device" in line for line in told)


def test_a_device_that_is_back_is_used_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vqwatch.ingest")
    found: list[HWAccel | None] = [None, HWAccel("cuda"), HWAccel("cuda")]

    def device(_: Decoder) -> HWAccel:
        now = found.pop(0)
        if now is None:
            raise OSError("no working cuda device: it fell off the bus")
        return now

    monkeypatch.setattr(hardware, "device_for", device)
    assert [device_of("cam9", Decoder.CUDA) is not None for _ in range(3)] == [False, True, True]
    said = [r.getMessage().split(" ")[1] for r in caplog.records]
    assert said == ["event=decoder_fallback", "event=decoder_restored"]


@pytest.mark.parametrize("missing", ["torch", "a torch that can use the GPU", "PyAV 18"])
def test_pictures_are_copied_where_they_cannot_be_kept_and_the_log_says_why(
    missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[bool] = []

    class Device:
        def __init__(self, *_: object, is_hw_owned: bool, **__: object) -> None:
            asked.append(is_hw_owned)

        def create(self, *_: object) -> None:
            pass

    monkeypatch.setattr(hardware, "HWAccel", Device)
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: missing != "a torch that can use the GPU"))
    monkeypatch.setitem(sys.modules, "torch", None if missing == "torch" else torch)  # type: ignore[arg-type]
    monkeypatch.setattr(hardware, "VideoFrame", object if missing == "PyAV 18" else av.VideoFrame)
    for _ in range(2):
        assert device_of("cam7", Decoder.CUDA_KEPT) is not None
    assert asked == [True, False, True, False]
    [said] = [r.getMessage() for r in caplog.records]
    assert said.startswith(f"stream=cam7 event=decoder_fallback decoder=cuda cuda-kept needs {missing}")


@with_cuda
def test_nvdec_gives_the_pictures_that_the_cpu_gives(clip_maker: Callable[..., Path], tmp_path: Path) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.4, size=(640, 360))

    def lumas(decoder: Decoder) -> tuple[str | None, list[bytes]]:
        source = PyAvSource(str(clip), stream=StreamId("cam"), live=False, decoder=decoder)
        told = source.open().decoder
        pictures = source.frames(threading.Event(), 1)
        return told, [one.picture.to_ndarray(format="gray").tobytes() for one in pictures]

    told, by_device = lumas(Decoder.CUDA)
    assert told == "cuda"
    assert by_device == lumas(Decoder.CPU)[1]


def test_what_is_asked_for_is_a_codec_that_ffmpeg_has() -> None:
    assert av.Codec(hardware._ASKED, "r").type == "video"
