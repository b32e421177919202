"""The kernels of one instruction set, for tests marked `every_isa`."""

import pytest

from support.kernel_cases import native


@pytest.fixture
def kernels(request):
    return native.kernels(request.param)
