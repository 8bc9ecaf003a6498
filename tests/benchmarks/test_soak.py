"""Many rollouts, and requests to both servers by many clients: none is lost or mixed up, and no handle stays open."""

from __future__ import annotations

import os

import pytest

from benchmarks.soak import HANGS_UP, soak

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

POOL = min(32, (os.cpu_count() or 1) + 4)
"""Threads of asyncio's pool, each begun when no other is seen to be idle: also late, where the machine is busy."""


def test_none_is_lost_or_mixed_up_and_handles_stay() -> None:
    found = soak(rollouts=32, requests=200, clients=20, rounds=4)
    hung_up = 4 * len(range(0, 50, HANGS_UP))
    for work, asked, left in (("rollouts", 32, 0), ("serve", 200, hung_up), ("index serve", 200, hung_up)):
        kept = found[work]
        assert (kept["lost"], kept["mixed_up"], kept["hung_up"], kept["done"]) == (0, 0, left, asked - left), work
        assert kept["handles"][1] <= kept["handles"][0], work
        assert kept["threads"][1] <= kept["threads"][0] + POOL, work
