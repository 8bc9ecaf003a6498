"""Property tests find the same cases on every machine and have no clock to lose against."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ours", deadline=None, derandomize=True, database=None)
settings.load_profile("ours")
