"""Settings of the property tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine makes any example slow; pytest's own time-out catches what hangs.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
