"""Which instruction set runs: the list, the choice, forcing one, and refusing one."""

import os
import subprocess
import sys

import pytest

from support.kernel_cases import ISAS, native

ORDER = ["scalar", "avx2", "avx_vnni", "avx512_vnni"]


def python(code, isa=None):
    environment = {name: value for name, value in os.environ.items() if name != "BITBERT_ISA"}
    if isa is not None:
        environment["BITBERT_ISA"] = isa
    command = [sys.executable, "-c", f"from bitbert import _native\n{code}"]
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_available_slowest_first():
    available = native.available_isas()
    assert available[0] == "scalar"
    assert available == [isa for isa in ORDER if isa in available]


def test_kernels_are_those_asked_for():
    assert [native.kernels(isa).isa for isa in ISAS] == ISAS


def test_the_best_runs_unless_one_is_forced():
    assert python("print(_native.active_isa())").stdout.strip() == native.available_isas()[-1]
    for isa in native.available_isas():
        assert python("print(_native.active_isa(), _native.kernels().isa)", isa).stdout.split() == [isa, isa]


def test_empty_means_not_forced():
    assert python("print(_native.active_isa())", "").stdout.strip() == native.available_isas()[-1]


@pytest.mark.parametrize("isa", ["avx9000", "AVX2", "avx2 "])
def test_unknown_name_is_refused(isa):
    with pytest.raises(RuntimeError, match=f"instruction set '{isa}' is unknown .* expected one of: scalar"):
        native.kernels(isa)
    assert "RuntimeError: instruction set" in python("_native.active_isa()", isa).stderr


def test_what_the_cpu_lacks_is_refused():
    lacking = [isa for isa in ORDER if isa not in native.available_isas()]
    for isa in lacking:
        with pytest.raises(RuntimeError, match=f"instruction set '{isa}'.*expected one of: scalar"):
            native.kernels(isa)


def test_features_explain_the_choice():
    features = native.cpu_features()
    available = native.available_isas()
    assert ("avx2" in available) == (features["avx2"] and features["fma"])
    if "avx512_vnni" in available:
        assert features["avx512_vnni"]
        assert features["avx512vl"]
    assert isinstance(native.cpu_name(), str)
