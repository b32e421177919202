"""TWN against its definition, number by number."""

import pytest
import torch

from bitbert.spec import WeightSpec
from quantizers.cases import quantizer_of


def twn(numbers):
    """Codes and scale of one unit: threshold 0.7 mean|w|, scale the mean of what is above it."""
    magnitudes = [abs(w) for w in numbers]
    threshold = 0.7 * sum(magnitudes) / len(magnitudes)
    kept = [m for m in magnitudes if m > threshold]
    codes = [0 if m <= threshold else (1 if w > 0 else -1) for w, m in zip(numbers, magnitudes, strict=True)]
    return codes, sum(kept) / len(kept)


@pytest.mark.parametrize("granularity", ["tensor", "row", "row_group"])
def test_codes_and_scales(granularity):
    weight = torch.randn(36, 25, generator=torch.Generator().manual_seed(0))
    quantizer = quantizer_of(weight, WeightSpec(2, "ternary", granularity=granularity), leftovers="float32")
    codes, scale = quantizer.freeze(weight)
    parts = {"tensor": [weight], "row": weight.split(1), "row_group": weight.split(16)}[granularity]
    expected = [twn(part.flatten().tolist()) for part in parts]
    assert codes.flatten().tolist() == [code for unit, _ in expected for code in unit]
    assert scale.tolist() == pytest.approx([s for _, s in expected], rel=1e-5)


def test_the_gradient_passes_unchanged():
    weight, g = torch.randn(6, 6).requires_grad_(), torch.randn(6, 6)
    quantizer_of(weight.detach(), WeightSpec(2, "ternary"))(weight).codes.backward(g)
    assert torch.equal(weight.grad, g)
