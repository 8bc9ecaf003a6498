"""Tokens are drawn by their shares: as often as they should be, never one without a share, again with the same seed."""

from __future__ import annotations

import pytest
import torch

from ragr1_lite.models.sampler import draw

DRAWN = 20_000


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("tokens", [1, 100, 128, 300, 1000])
def test_each_token_is_drawn_as_often_as_its_share_says(tokens: int) -> None:
    shares = torch.rand(tokens, generator=seeded()) ** 4
    shares[::3] = 0
    shares[tokens // 2] = 1
    shares /= shares.sum()
    drawn = draw(shares.expand(DRAWN, -1), seeded())
    counts = torch.bincount(drawn, minlength=tokens).double()
    assert not counts[shares == 0].any()
    expected = shares.double() * DRAWN
    often = expected > 5
    away = ((counts - expected)[often] / expected[often].sqrt()).abs()
    assert away.max() < 5, "within five standard deviations"
    assert counts[~often].sum() < expected[~often].sum() + 5 * (expected[~often].sum().sqrt() + 1)


def test_rows_have_shares_of_their_own_and_a_seed_draws_the_same_again() -> None:
    certain = torch.eye(300)
    assert draw(certain).tolist() == list(range(300))
    mixed = torch.softmax(torch.randn(8, 1000, generator=seeded()), -1)
    assert draw(mixed, seeded()).tolist() == draw(mixed, seeded()).tolist()
    assert len({*draw(mixed[:1].expand(50, -1), seeded()).tolist()}) > 30
