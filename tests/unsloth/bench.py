"""``python -m tests.unsloth.bench rollout``: a benchmark by unsloth without a card, in fp32; ratios, not speeds."""

from __future__ import annotations

from tests.unsloth import stand_in  # noqa: F401  before all others

if __name__ == "__main__":
    from benchmarks.__main__ import app
    from ragr1_lite.models import loading, precision

    loading._has_cuda = lambda: True
    precision.fastest_on = lambda *, cuda: "fp32"
    app()
