"""Certificates for the tests, made by openssl: an authority, and whom it signs for."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]


@dataclass(frozen=True)
class Signed:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates for 127.0.0.1; skips the test where there is no openssl."""

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl to make certificates, which is not installed")
        self._folder = folder
        self._name = name
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _run("req", "-x509", *_KEY, "-nodes", "-days", "1", "-subj", f"/CN={name}",
             "-out", str(self.certificate), "-keyout", str(self._key))  # fmt: skip

    def sign(self, name: str, password: str | None = None) -> Signed:
        stem = f"{self._name}-{name}"
        certificate, key, request = (self._folder / f"{stem}.{end}" for end in ("pem", "key", "csr"))
        names = self._folder / "names.cnf"
        names.write_text("subjectAltName=IP:127.0.0.1\n")
        hidden = ["-nodes"] if password is None else ["-passout", f"pass:{password}"]
        _run("req", *_KEY, *hidden, "-subj", f"/CN={name}", "-out", str(request), "-keyout", str(key))
        _run("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key),
             "-CAcreateserial", "-days", "1", "-extfile", str(names), "-out", str(certificate))  # fmt: skip
        return Signed(certificate, key)


def _run(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
