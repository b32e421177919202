"""Imports: `import bitbert` costs next to nothing, running a model never touches torch, layers look downwards."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bitbert

SOURCE = Path(bitbert.__file__).parent
HEAVY = {"torch", "transformers", "datasets", "accelerate", "sklearn", "scipy", "pydantic", "pandas"}

# What a part of the package may import of ours. Faces and training may import anything.
ALLOWED = {
    "errors.py": set(),
    "spec.py": {"errors"},
    "checkpoint": {"checkpoint", "errors", "spec"},
    "runtime": {"_native", "checkpoint", "errors", "runtime", "spec"},
}


def modules_after(code):
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in run.stdout.split()}


def test_import_bitbert_loads_nothing_else():
    assert not modules_after("import bitbert") & (HEAVY | {"numpy", "tokenizers", "safetensors", "rich", "typer"})


def test_running_a_model_never_imports_torch():
    pytest.importorskip("bitbert._native", reason="the native engine is not built")
    assert not modules_after("import bitbert; bitbert.load; bitbert.Model; bitbert.QuantSpec") & HEAVY


def test_reading_and_writing_never_import_torch_or_the_engine():
    assert not modules_after("import bitbert.checkpoint, bitbert.report.card, bitbert.runtime.reference") & HEAVY


def test_timing_imports_torch_in_the_workers_of_peers_only():
    pytest.importorskip("bitbert._native", reason="the native engine is not built")
    code = (
        "import bitbert.bench.run, bitbert.bench.setups, bitbert.bench.profile, bitbert.bench.price, bitbert.bench.plot"
    )
    assert not modules_after(code) & HEAVY
    assert not modules_after("import bitbert.bench.worker, bitbert.bench.contenders.engine") & HEAVY


def imports(path):
    """Every module that a file imports anywhere, functions included, by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "bitbert":
            yield from (f"bitbert.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("part", ALLOWED)
def test_layers_look_downwards(part):
    files = [SOURCE / part] if part.endswith(".py") else sorted((SOURCE / part).glob("**/*.py"))
    assert files
    for path in files:
        for name in imports(path):
            top, *rest = name.split(".")
            assert top not in HEAVY, f"{path} imports {name}"
            assert top != "bitbert" or rest[0] in ALLOWED[part], f"{path} imports {name}"


def test_searching_never_runs_the_engine():
    for path in (SOURCE / "search").glob("*.py"):
        assert not {name.split(".")[1] for name in imports(path) if name.startswith("bitbert.")} & {"bench", "runtime"}


@pytest.mark.parametrize("name", bitbert.__all__)
def test_every_public_name_is_listed_and_has_a_home(name):
    assert name in dir(bitbert)
    assert (SOURCE / f"{bitbert._HOME[name].removeprefix('bitbert.').replace('.', '/')}.py").is_file()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'bitbert' has no attribute 'nonsense'"):
        bitbert.nonsense  # noqa: B018


def test_without_the_training_extra_the_error_says_how_to_get_it():
    code = "import sys; sys.modules['torch'] = None; import bitbert; bitbert.quantize"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.endswith("ImportError: bitbert.quantize needs torch: pip install 'bitbert[train]'\n")
