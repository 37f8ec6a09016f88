"""Errors of the engines.

::

    EngineError                 anything wrong with a bundle or an engine
     ├─ BundleError             a bundle is incomplete, damaged or of another kind than asked for
     ├─ EngineUnavailable       this machine lacks what the engine needs (package, device)
     └─ PictureError            a picture cannot be cut to the model's input
"""

from __future__ import annotations


class EngineError(Exception):
    """Something is wrong with a bundle or an engine; the message is one line."""


class BundleError(EngineError):
    """A bundle is incomplete, damaged, or not what its manifest says."""


class EngineUnavailable(EngineError):
    """The machine lacks what this engine needs; the message names the package or device."""


class PictureError(EngineError):
    """A decoded picture cannot be cut to the model's input."""
