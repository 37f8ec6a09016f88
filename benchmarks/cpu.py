"""The OpenVINO engine against the CPU's peak: multiply-adds a second of it, over those that the cores do at most.

The peak is that of FMA, of bf16 and of int8 dot products in registers, in every core at once (``peak.c``, built here: a
C compiler is needed). It is measured before and behind each of the engine's rounds, since a shared machine's speed
changes from second to second; what is printed is the median of the rounds' ratios. A graph of which some convolutions
are int8 is held against a peak in which each part takes its own time. Convolutions alone are counted. A product of two
large matrices shows what the library reaches at best.

    python -m benchmarks.cpu [--rounds 7] [--batch 16] [--write FILE]
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import openvino
from openvino import opset13 as opset

from benchmarks.gpu import Case, random_bundle
from engines import open_engine
from engines.base import Precision
from engines.bundle import BUNDLED, Bundle, bundles_folder, load_bundle
from training.quantise import attempts, quantise, with_int8

_SOURCE = Path(__file__).with_name("peak.c")
_FUNCTIONS = {Precision.F32: "peak_f32", Precision.BF16: "peak_bf16", Precision.INT8: "peak_int8"}
_VERSION = openvino.__version__.split("-")[0]
_PEAK_S, _ENGINE_S = 0.15, 0.4
_CASES = (Case("ResNet-18 224x224", 18, (3, 224, 224), 8), Case("ResNet-50 224x224", 50, (3, 224, 224), 8))
_PRODUCT = 2048
#: Pictures that ranges of activations are taken from; speed does not depend on what they are.
_CALIBRATION = 4


class Peak:
    """What the cores do at most.

    Args:
        folder: Where the kernel is built.
        threads: At once.

    Raises:
        SystemExit: There is no C compiler, or it fails.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise SystemExit("the peak is measured by a kernel in C: no C compiler (cc, gcc or clang) was found")
        library = folder / "peak.so"
        built = subprocess.run(
            [compiler, "-O2", "-march=native", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            raise SystemExit(f"{compiler} cannot build {_SOURCE.name}: {built.stderr.strip()[-500:]}")
        self._library = ctypes.CDLL(str(library))
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._rounds: dict[Precision, int] = {}
        for name in _FUNCTIONS.values():
            function = getattr(self._library, name)
            function.argtypes, function.restype = [ctypes.c_long], ctypes.c_double

    def per_s(self, precision: Precision) -> float:
        """Operations a second of all threads, two a multiply-add; 0 where this CPU has no such instruction."""
        function: Callable[[int], float] = getattr(self._library, _FUNCTIONS[precision])
        if not function(1):
            return 0.0
        if precision not in self._rounds:
            probe = 1_000_000
            started_s = time.perf_counter()
            function(probe)
            self._rounds[precision] = int(probe * _PEAK_S / (time.perf_counter() - started_s))
        rounds = self._rounds[precision]
        started_s = time.perf_counter()
        # ctypes lets go of the GIL meanwhile.
        done = sum(self._pool.map(function, [rounds] * self._threads))
        return done / (time.perf_counter() - started_s)


@dataclass(frozen=True, slots=True)
class Work:
    """Operations a picture of a graph's convolutions, two a multiply-add: of those in int8, and of the others."""

    int8: float
    other: float


def work_of(graph: Path, picture: tuple[int, int, int]) -> Work:
    """Counts the convolutions of a graph that takes such pictures."""
    model = openvino.Core().read_model(str(graph))
    model.reshape([1, *picture])
    counts = {True: 0.0, False: 0.0}
    for op in model.get_ops():
        if op.get_type_name() != "Convolution":
            continue
        out, weights = op.output(0).get_shape(), op.input(1).get_shape()
        quantised = op.input(0).get_source_output().get_node().get_type_name() == "FakeQuantize"
        counts[quantised] += 2.0 * float(np.prod(out)) * float(np.prod(list(weights)[1:]))
    return Work(counts[True], counts[False])


@dataclass(frozen=True, slots=True)
class Row:
    """One trunk in one precision.

    Attributes:
        per_s: Pictures (products) a second, median.
        peak: The precision's peak, operations a second, median.
        share: Of the pictures a second that the peak allows, median of the rounds.
    """

    name: str
    precision: Precision
    per_s: float
    peak: float
    share: float


def measure(
    name: str, bundle: Bundle, picture: tuple[int, int, int], precision: Precision, peak: Peak, batch: int, rounds: int
) -> Row | None:
    """One row; None where the CPU has no such arithmetic, or the bundle no such graph."""
    int8 = bundle.manifest.trunk.int8
    if not peak.per_s(precision) or (precision is Precision.INT8 and int8 is None):
        return None
    graph = bundle.path / int8.file if precision is Precision.INT8 and int8 is not None else bundle.trunk_path
    work = work_of(graph, picture)
    engine = open_engine(bundle, "openvino", precision)
    pixels = np.random.default_rng(0).integers(16, 236, (batch, *picture), dtype=np.uint8)
    try:
        return _against_peak(name, precision, work, lambda: engine.infer(pixels), batch, peak, rounds)
    finally:
        engine.close()


def _against_peak(
    name: str, precision: Precision, work: Work, step: Callable[[], object], count: int, peak: Peak, rounds: int
) -> Row:
    """A step that does ``count`` pictures, again and again, between measurements of the peak."""

    def look() -> tuple[float, float]:
        """Peak of the precision, and the time of a picture at the peak."""
        most = peak.per_s(precision)
        if not work.int8:
            return most, work.other / most
        return most, work.int8 / most + work.other / peak.per_s(Precision.F32)

    step()
    rates, peaks, shares = [], [], []
    before = look()
    for _ in range(rounds):
        done, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < _ENGINE_S:
            step()
            done += count
        rate = done / (time.perf_counter() - started_s)
        after = look()
        rates.append(rate)
        peaks.append((before[0] + after[0]) / 2)
        shares.append(rate * (before[1] + after[1]) / 2)
        before = after
    return Row(name, precision, median(rates), median(peaks), median(shares))


def product(side: int, precision: Precision, peak: Peak, threads: int, rounds: int) -> Row | None:
    """What a product of two large square matrices reaches with the same library: how near it comes at best."""
    if not peak.per_s(precision):
        return None
    left = opset.parameter([side, side], np.float32)
    rng = np.random.default_rng(3)
    right = opset.constant(rng.random((side, side), dtype=np.float32))
    model = openvino.Model([opset.matmul(left, right, False, False)], [left])
    settings = {"INFERENCE_PRECISION_HINT": str(precision), "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    values = rng.random((side, side), dtype=np.float32)
    return _against_peak(
        f"product of {side}x{side}",
        precision,
        Work(0.0, 2.0 * side**3),
        lambda: request.infer({0: values}, share_inputs=True),
        1,
        peak,
        rounds,
    )


def quantised(bundle: Bundle, picture: tuple[int, int, int]) -> Bundle:
    """The bundle with a graph in int8, as a trunk as large as these bears it: all but its pooling."""
    pixels = np.random.default_rng(2).integers(16, 236, (_CALIBRATION, *picture), dtype=np.uint8)
    out = bundle.path / "trunk.int8.xml"
    quantise(bundle.trunk_path, pixels, out, attempts(bundle.trunk_path)["performance-pooling-kept"])
    return with_int8(bundle, out)


def table(rows: list[Row]) -> str:
    """What was found, as Markdown."""
    lines = ["| trunk | precision | a second | peak, GOP/s | of the peak |", "|---|---|---|---|---|"]
    lines += [f"| {r.name} | {r.precision} | {r.per_s:,.1f} | {r.peak / 1e9:,.0f} | {r.share:.2f} |" for r in rows]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write it below a heading of its own")
    args = parser.parse_args(arguments)
    threads = len(os.sched_getaffinity(0))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="vqwatch-peak-") as scratch:
        folder = Path(scratch)
        peak = Peak(folder, threads)
        bundled = load_bundle(bundles_folder() / BUNDLED)
        shape = bundled.manifest.input.spec().fixed_shape
        assert shape is not None
        size = f"{shape[2]}x{shape[1]}"
        subjects: list[tuple[str, Bundle, tuple[int, int, int]]] = [(f"{bundled.model_id} {size}", bundled, shape)]
        for case in _CASES:
            (folder / case.name).mkdir()
            bundle, _ = random_bundle(folder / case.name, case)
            subjects.append((case.name, quantised(bundle, case.picture), case.picture))
        for name, bundle, picture in subjects:
            for precision in _FUNCTIONS:
                row = measure(name, bundle, picture, precision, peak, args.batch, args.rounds)
                if row is not None:
                    rows.append(row)
                    print(f"{name} {precision}: {row.share:.2f} of the peak", file=sys.stderr)
        for precision in (Precision.F32, Precision.BF16):
            row = product(_PRODUCT, precision, peak, threads, args.rounds)
            if row is not None:
                rows.append(row)
    text = table(rows)
    print(text)
    if args.write is not None:
        command = f"python -m benchmarks.cpu --rounds {args.rounds} --batch {args.batch} --write FILE"
        args.write.write_text(
            f"# The engine against the CPU's peak\n\nWritten by `{command}` on {threads} cores, {platform.machine()}, "
            f"OpenVINO {_VERSION}: pictures a second, over those that multiply-adds in registers would allow in the "
            "same seconds; the script says how.\n\n" + text
        )


if __name__ == "__main__":
    main()
