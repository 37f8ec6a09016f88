"""Impaired clips as the bundled model's head sees them, at any of its rates."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from monitor.types import CAUSES, F64
from training.benign import Tick
from training.errors import UsageError
from training.labels import BASE_REFERENCE, labels, spatial_scales
from training.synthesis import CLIP_LENGTH, SAMPLE_FPS, ClipFacts, rate_ticks, side_name

F32 = npt.NDArray[np.float32]


class TrunkReader(Protocol):
    """See ``training.trunk.WideReader``."""

    def read(self, group: Path) -> F32:
        """What the trunk gives for a group file's clips, (V, T, K) float32."""


@dataclass(frozen=True, slots=True)
class Clips:
    """Impaired clips as the head sees them.

    Attributes:
        trunk: (N, T, K) float32 trunk outputs.
        side: (N, T, S) float32.
        facts: N records.
        label: (N,) float64.
        group: (N,) index of the group: one content under one kind of impairment.
        fps: Samples a second.
    """

    trunk: F32
    side: F32
    facts: list[ClipFacts]
    label: F64
    group: npt.NDArray[np.int64]
    fps: float = SAMPLE_FPS

    @property
    def cause(self) -> npt.NDArray[np.int64]:
        """(N,) index into CAUSES."""
        return np.array([CAUSES.index(f.kind) for f in self.facts])

    @property
    def level(self) -> npt.NDArray[np.int64]:
        """(N,) 0 for clean."""
        return np.array([f.level for f in self.facts])

    @property
    def length(self) -> int:
        """Samples a clip."""
        return self.trunk.shape[1]

    def take(self, rows: npt.NDArray[np.int64]) -> Clips:
        """Some of the clips."""
        return replace(
            self,
            trunk=self.trunk[rows],
            side=self.side[rows],
            facts=[self.facts[i] for i in rows],
            label=self.label[rows],
            group=self.group[rows],
        )


def load_clips(
    folder: Path, reader: TrunkReader, scales: dict[str, float] | None, fps: float = SAMPLE_FPS
) -> tuple[Clips, dict[str, float]]:
    """Reads group files and runs the trunk over them; label scales are fitted where none are given.

    Args:
        folder: What `training.synthesise` filled.
        reader: The trunk.
        scales: Of `training.labels.spatial_scales`.
        fps: SAMPLE_FPS or one of LADDER_FPS.

    Raises:
        UsageError: There are no clips.
    """
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UsageError(f"{folder}: no clips; run `python -m training synthesise` first")
    shown = [index for index, _ in rate_ticks([Tick()] * CLIP_LENGTH, fps)]
    trunk, side, facts, group = [], [], [], []
    console = Console(stderr=True)
    for number, file in enumerate(track(files, description=f"trunk over {folder.name}", console=console)):
        outputs = reader.read(file)
        with np.load(file) as data:
            side.append(data[side_name(fps)])
            facts += [ClipFacts(**f) for f in json.loads(str(data["facts"]))]
        trunk.append(outputs[:, shown])
        group += [number] * len(outputs)
    scales = scales or spatial_scales(facts, BASE_REFERENCE)
    label = labels(facts, scales, BASE_REFERENCE)
    return Clips(np.concatenate(trunk), np.concatenate(side), facts, label, np.array(group), fps), scales
