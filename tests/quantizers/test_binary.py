"""BWN against its definition, number by number."""

import pytest
import torch

from bitbert.spec import WeightSpec
from quantizers.cases import quantizer_of


@pytest.mark.parametrize("granularity", ["tensor", "row", "row_group"])
def test_codes_and_scales(granularity):
    weight = torch.randn(36, 25, generator=torch.Generator().manual_seed(0))
    weight[0, :3] = torch.tensor([0.0, -0.0, -1e-30])
    codes, scale = quantizer_of(weight, WeightSpec(1, "binary", granularity=granularity), leftovers="float32").freeze(
        weight
    )
    assert codes[0, :3].tolist() == [1, 1, -1]
    assert torch.equal(codes, torch.where(weight >= 0, 1, -1).to(torch.int8))
    parts = {"tensor": [weight], "row": weight.split(1), "row_group": weight.split(16)}[granularity]
    assert scale.tolist() == pytest.approx([part.double().abs().mean().item() for part in parts], rel=1e-5)


def test_the_gradient_passes_unchanged():
    weight, g = torch.randn(6, 6).requires_grad_(), torch.randn(6, 6)
    quantizer_of(weight.detach(), WeightSpec(1, "binary"))(weight).codes.backward(g)
    assert torch.equal(weight.grad, g)
