"""H.264 in MPEG-TS over UDP, whose encoder can be exchanged in mid-stream without a break in the time line."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext

from monitor.types import TIME_BASE_HZ, U8

#: Bits per pixel of a clean feed: 5.2 Mb/s at 960x540 and 25 fps, where these pictures show no coding.
CLEAN_BITS_PER_PIXEL = 0.40


class TsSender:
    """Sends one feed. Not thread-safe: one thread opens, sends and closes.

    Every encoder starts with a keyframe that carries its parameter sets, so a receiver goes on over an exchange as
    over any keyframe.

    Args:
        url: Where to, ``udp://host:port?pkt_size=1316``, or a file.
        width: Luma columns.
        height: Luma rows.
        fps: Pictures a second; a keyframe comes every second.
        preset: x264's trade of time for bits.
    """

    def __init__(self, url: str, width: int, height: int, fps: float, preset: str = "ultrafast") -> None:
        self._size = (width, height)
        self._fps = Fraction(fps).limit_denominator(1001)
        self._preset = preset
        self._container = av.open(url, "w", format="mpegts", options={"flush_packets": "1"})
        self._stream = self._container.add_mux_stream(
            "h264", rate=self._fps, width=width, height=height, time_base=Fraction(1, TIME_BASE_HZ)
        )
        self._encoder: VideoCodecContext | None = None
        self._bits_per_pixel: float | None = None

    def _open(self, bits_per_pixel: float) -> VideoCodecContext:
        rate = round(bits_per_pixel * self._size[0] * self._size[1] * float(self._fps))
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height = self._size
        encoder.pix_fmt = "yuv420p"
        encoder.framerate = self._fps
        encoder.time_base = Fraction(1, TIME_BASE_HZ)
        encoder.bit_rate = rate
        encoder.gop_size = round(self._fps)
        encoder.thread_count = 1
        encoder.options = {
            "preset": self._preset,
            "tune": "zerolatency",
            "maxrate": str(rate),
            "bufsize": str(rate),
            # The fastest preset leaves deblocking out, which clean pictures want back for a tenth of the time.
            "x264-params": "scenecut=0:deblock=0,0:colorprim=bt709:transfer=bt709:colormatrix=bt709",
        }
        return encoder

    def send(self, picture: U8, number: int, bits_per_pixel: float = CLEAN_BITS_PER_PIXEL) -> None:
        """Encode and send one picture.

        Args:
            picture: (H * 3 / 2, W) uint8 I420.
            number: Its place in the feed; the time stamp follows from it. Must grow.
            bits_per_pixel: Rate from this picture on; another one than before exchanges the encoder.
        """
        if self._encoder is None or bits_per_pixel != self._bits_per_pixel:
            self._flush()
            self._encoder, self._bits_per_pixel = self._open(bits_per_pixel), bits_per_pixel
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = int(number * TIME_BASE_HZ / self._fps)
        frame.time_base = Fraction(1, TIME_BASE_HZ)
        self._mux(frame)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        assert self._encoder is not None
        for packet in self._encoder.encode(frame):
            packet.stream = self._stream
            self._container.mux_one(packet)

    def _flush(self) -> None:
        if self._encoder is not None:
            self._mux(None)
            self._encoder = None

    def pause(self) -> None:
        """End the present encoder; the next picture is a keyframe."""
        self._flush()

    def close(self) -> None:
        """Send what is left and close."""
        self._flush()
        self._container.close()
