"""How far apart results in fp32 may lie that are computed in another order: tolerances by arithmetic, for any machine.

An operation is off by at most half an ulp, relative to the numbers it takes. Other vector instructions or other batches
sum in another order. The errors are of either sign, so a sum of n terms differs by about √n ulp, relative to the terms.
A loss through a small model sums 10⁴ to 10⁵ terms one after the other, hence a few hundred ulp.
"""

from __future__ import annotations

import torch

ULP = torch.finfo(torch.float32).eps
LOSS = 256 * ULP
"""3e-5, relative: losses and logits."""
GRADIENT = 1024 * ULP
"""1.2e-4, relative: gradients, which run through the model twice."""


def assert_near(found: torch.Tensor, expected: torch.Tensor, relative: float = LOSS) -> None:
    """No element is off by more than this share of the largest: near 0, terms of that size have cancelled out."""
    torch.testing.assert_close(found, expected, rtol=0, atol=relative * float(expected.abs().max()))
