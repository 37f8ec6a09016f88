"""Built engines (plans) on the disk: found by everything that they depend on, written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_MAGIC = b"vqwatch-plan-1\n"
_SUFFIX = ".plan"


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything that decides whether a plan may be used. Plans themselves differ from build to build.

    Attributes:
        graph_sha256: Of the graph that was given to the builder, weights included.
        library: Name and version of the builder.
        gpu: The device's name.
        compute_capability: Such as ``9.0``.
        driver: The driver's version, or what it supports.
        precision: Arithmetic.
        profiles: (smallest, best, largest) input shape of each optimisation profile.
    """

    graph_sha256: str
    library: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    profiles: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def text(self) -> str:
        """As JSON, one line."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """Name of the plan's file, without its ending."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]


class PlanCache:
    """A folder of plans. Safe for several processes of one host.

    A plan says itself for what it was built and what its bytes hash to: one that is damaged, cut short, or was put
    under another's name is not used.

    Args:
        folder: Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: PlanKey) -> Path:
        """Where a plan lies, or would."""
        return self.folder / f"{key.digest}{_SUFFIX}"

    def load(self, key: PlanKey) -> bytes | None:
        """A plan that is whole and was built for this key; None where there is none."""
        try:
            content = self.path(key).read_bytes()
        except OSError:
            return None
        head, _, rest = content.removeprefix(_MAGIC).partition(b"\n")
        digest, _, plan = rest.partition(b"\n")
        if not content.startswith(_MAGIC) or head != key.text.encode():
            return None
        return plan if digest == hashlib.sha256(plan).hexdigest().encode() else None

    def store(self, key: PlanKey, plan: bytes) -> None:
        """Writes a plan; whoever reads meanwhile finds the old one or the new one.

        Raises:
            OSError: The disk refuses.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(plan).hexdigest().encode()
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".building-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + key.text.encode() + b"\n" + digest + b"\n" + plan)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path(key))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def fetch(self, key: PlanKey, build: Callable[[], bytes], accepts: Callable[[bytes], bool]) -> bytes:
        """A plan that is accepted: from the disk, or built by one process of this host while the others wait for it.

        Args:
            key: What it must be for.
            build: Makes one; takes minutes.
            accepts: Whether this machine can load it; one from the disk that is not is built again.

        Raises:
            EngineError: As ``build`` does.
        """
        plan = self.load(key)
        if plan is not None and accepts(plan):
            return plan
        with self._building():
            # Somebody else may have built it while this process waited.
            other = self.load(key)
            if other is not None and other != plan and accepts(other):
                return other
            plan = build()
            with contextlib.suppress(OSError):
                # A full disk costs the next start its time, not this one its engine.
                self.store(key, plan)
            return plan

    def plans(self) -> list[tuple[Path, dict[str, object]]]:
        """Files and keys of the plans there are, by name."""
        found = []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            with path.open("rb") as file:
                head = file.read(len(_MAGIC)), file.readline()
            with contextlib.suppress(ValueError):
                if head[0] == _MAGIC:
                    found.append((path, json.loads(head[1])))
        return found

    @contextlib.contextmanager
    def _building(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        # The lock goes with its process, however that ends.
        with (self.folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
