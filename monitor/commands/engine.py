"""``vqwatch engine``: what can compute here, and building what must be built before it does."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines import Bundle, FeatureEngine, Precision, find_bundle, load_bundle, open_engine
from engines.bundle import BUNDLED
from engines.errors import BundleError, EngineError
from engines.plan_cache import PlanCache
from engines.tensorrt import default_cache
from monitor.errors import MonitorError, UsageError

#: Engines and what each may be asked for, as `list` goes through them.
_KINDS: dict[str, tuple[Precision, ...]] = {
    "openvino": (Precision.F32, Precision.BF16, Precision.INT8),
    "tensorrt": (Precision.F16, Precision.INT8, Precision.F32),
    "torch": (Precision.F32, Precision.BF16),
}
#: Pictures on which an engine that was built is held against f32 on the CPU.
_TRIED = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="engines of this machine, and plans that are built")
    building = actions.add_parser("build", help="build an engine now, not at the monitor's start, and try it")
    for action in (listing, building):
        action.add_argument("--json", action="store_true", help="one JSON object")
        action.add_argument("--data-dir", type=Path, metavar="DIR", help="also look for models in DIR/models")
        action.add_argument("--model", default=BUNDLED, metavar="NAME|DIR", help=f"bundle (default {BUNDLED})")
    building.add_argument("--engine", choices=tuple(_KINDS), default="tensorrt", help="(tensorrt)")
    building.add_argument("--precision", choices=tuple(map(str, Precision)), default="auto", help="(auto)")


def run(args: argparse.Namespace) -> int:
    """Does one action."""
    try:
        bundle = load_bundle(find_bundle(args.model, [args.data_dir / "models"] if args.data_dir else []))
    except BundleError as error:
        raise UsageError(str(error)) from error
    return _build(bundle, args) if args.action == "build" else _list(bundle, as_json=args.json)


@dataclass(frozen=True, slots=True)
class _Found:
    """One engine in one precision: what it is, or why it is not to be had."""

    name: str
    precision: Precision
    version: str = ""
    device: str = ""
    reason: str = ""

    def fields(self) -> dict[str, object]:
        """As JSON; what is empty is left out."""
        plain = {"engine": self.name, "precision": str(self.precision), "usable": not self.reason}
        return plain | {k: v for k in ("version", "device", "reason") if (v := getattr(self, k))}


def _list(bundle: Bundle, *, as_json: bool) -> int:
    found = [_find(bundle, name, precision) for name, precisions in _KINDS.items() for precision in precisions]
    plans = [
        {"file": str(path), "bytes": path.stat().st_size, **{k: key.get(k) for k in ("library", "gpu", "precision")}}
        for path, key in PlanCache(default_cache()).plans()
    ]
    if as_json:
        print(json.dumps({"model": bundle.model_id, "engines": [one.fields() for one in found], "plans": plans}))
        return 0
    for one in found:
        said = f"no: {one.reason}" if one.reason else f"yes, {one.version} on {one.device}"
        print(f"{one.name:9} {one.precision!s:5} {said}")
    print(f"plans in {default_cache()}: {len(plans) or 'none'}")
    for plan in plans:
        print(f"  {plan['library']}, {plan['precision']}, {plan['gpu']}, {plan['bytes']} bytes: {plan['file']}")
    return 0


def _find(bundle: Bundle, name: str, precision: Precision) -> _Found:
    try:
        if name == "tensorrt":
            # Not opened: where its plan is missing, that would take minutes.
            from engines.tensorrt import device_and_version, typed_graph

            device, version = device_and_version()
            typed_graph(bundle, precision)
            return _Found(name, precision, version, device)
        engine = open_engine(bundle, name, precision)
    except EngineError as error:
        return _Found(name, precision, reason=str(error))
    info = engine.info
    engine.close()
    return _Found(name, precision, info.version, info.device)


def _build(bundle: Bundle, args: argparse.Namespace) -> int:
    began_s = time.monotonic()
    print(f"building {args.engine} for {bundle.model_id}; this can take minutes", file=sys.stderr)
    engine = open_engine(bundle, args.engine, Precision(args.precision))
    try:
        fields: dict[str, Any] = {
            "engine": engine.info.name,
            "version": engine.info.version,
            "device": engine.info.device,
            "precision": str(engine.info.precision),
            "model": engine.info.model_id,
            "ready_s": round(time.monotonic() - began_s, 2),
            "largest_difference": round(_largest_difference(bundle, engine), 6),
        }
    finally:
        engine.close()
    if args.json:
        print(json.dumps(fields))
        return 0
    print(
        f"{fields['engine']} {fields['version']} on {fields['device']}, {fields['precision']}, ready in "
        f"{fields['ready_s']} s; features differ from f32 on the CPU by {fields['largest_difference']:.2%} at most"
    )
    return 0


def _largest_difference(bundle: Bundle, engine: FeatureEngine) -> float:
    """Of any feature from that of OpenVINO in f32, over the largest feature there is."""
    shape = bundle.manifest.input.spec().fixed_shape or (3, 224, 224)
    pixels = np.random.default_rng(0).integers(0, 256, (_TRIED, *shape), dtype=np.uint8)
    features = engine.infer(pixels)
    if not np.isfinite(features).all():
        raise MonitorError(f"{engine.info.name} {engine.info.precision} gives features that are no numbers")
    plain = open_engine(bundle, "openvino", Precision.F32)
    try:
        expected = plain.infer(pixels)
    finally:
        plain.close()
    return float(np.abs(features - expected).max() / np.abs(expected).max())
