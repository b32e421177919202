"""bitbert: BERT encoders at 8, 4, 2 and 1 bit, trained, stored and run that way.

The names below are imported when they are first used: `import bitbert` costs next to nothing, and running a model never
imports torch. Training needs the extra: `pip install 'bitbert[train]'`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitbert.errors import BitbertError
    from bitbert.runtime.answers import Answer
    from bitbert.runtime.model import Model, Prediction, load
    from bitbert.runtime.tags import Tagged
    from bitbert.spec import ActivationSpec, Override, QuantSpec, WeightSpec
    from bitbert.training.finetune import finetune
    from bitbert.training.pipeline import quantize
    from bitbert.training.post_training import calibrate_only

__version__ = "0.1.0"

__all__ = [
    "ActivationSpec",
    "Answer",
    "BitbertError",
    "Model",
    "Override",
    "Prediction",
    "QuantSpec",
    "Tagged",
    "WeightSpec",
    "calibrate_only",
    "finetune",
    "load",
    "quantize",
]

_HOME = {
    "ActivationSpec": "bitbert.spec",
    "Answer": "bitbert.runtime.answers",
    "BitbertError": "bitbert.errors",
    "Model": "bitbert.runtime.model",
    "Override": "bitbert.spec",
    "Prediction": "bitbert.runtime.model",
    "QuantSpec": "bitbert.spec",
    "Tagged": "bitbert.runtime.tags",
    "WeightSpec": "bitbert.spec",
    "calibrate_only": "bitbert.training.post_training",
    "finetune": "bitbert.training.finetune",
    "load": "bitbert.runtime.model",
    "quantize": "bitbert.training.pipeline",
}
_TRAINING_PARTS = ("torch", "transformers", "accelerate", "datasets", "pydantic", "yaml", "sklearn", "scipy", "seqeval")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bitbert' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name in _TRAINING_PARTS:
            raise ImportError(f"bitbert.{name} needs {error.name}: pip install 'bitbert[train]'") from error
        raise


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
