"""What a recipe may say, and reading one: YAML -> `Recipe`, checked, with `key=value` settings on top.

A recipe gives a quantizer to every kind of tensor and a list of training stages. Its width is a default: `--bits` names
another, so one recipe serves all widths that its quantizers can do.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bitbert.errors import RecipeError, SpecError
from bitbert.spec import Override, QuantSpec, WeightSpec, activation_names, parse_bits, weight_names

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
# Their range is the largest weight, or starts near it: a poor value for all of them to take.
_NOT_BINARY = ("minmax", "learned_range")

Initialisation = Literal["minmax", "percentile", "histogram", "mse"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Losses(_Strict):
    """Weights of the terms of the training loss; 0 leaves a term out (and what it would need uncomputed)."""

    labels: NonNegative = 1.0
    logits: NonNegative = 0.0
    scores: NonNegative = 0.0
    hidden: NonNegative = 0.0

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with a teacher."""
        return bool(self.logits or self.scores or self.hidden)


class Calibration(_Strict):
    """How ranges start: training batches that are shown to the model, and the rule by which a learned range is set."""

    batches: Annotated[int, Field(ge=1)] = 16
    weights: Initialisation = "percentile"
    activations: Initialisation = "histogram"


class Stage(_Strict):
    """One run of the training loop. Learning rates are for weights, weight scales and activation scales.

    `dropout` None keeps the model's own. `warmup` is a fraction of the steps; after it rates fall linearly to 0.
    """

    epochs: Positive = 3.0
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Positive = 5e-5
    weight_scale_learning_rate: NonNegative = 1e-3
    activation_scale_learning_rate: NonNegative = 1e-2
    weight_decay: NonNegative = 0.01
    weight_scale_decay: NonNegative = 0.0
    activation_scale_decay: NonNegative = 0.0
    warmup: Fraction = 0.0
    max_grad_norm: NonNegative = 1.0
    dropout: Fraction | None = None
    losses: Losses = Losses()


class Reconstruction(_Strict):
    """Training block by block, on the batches of calibration, to give what the float model's blocks give.

    `steps` are of each block. Learning rates are as in a stage; they fall linearly to 0.
    """

    steps: Annotated[int, Field(ge=1)] = 100
    learning_rate: NonNegative = 1e-4
    weight_scale_learning_rate: NonNegative = 1e-4
    activation_scale_learning_rate: NonNegative = 1e-2


class Recipe(_Strict):
    """A method: quantizers by kind of tensor (`all` for every kind), calibration, reconstruction if any, stages.

    Without stages nothing is trained from end to end, and no labels are needed.
    """

    name: str
    description: str
    bits: str = "w8a8"
    weights: dict[str, dict[str, Any]] = {}
    activations: dict[str, dict[str, Any]] = {}
    overrides: list[dict[str, Any]] = []
    leftovers: Literal["float16", "float32"] = "float16"
    calibration: Calibration = Calibration()
    reconstruction: Reconstruction | None = None
    stages: list[Stage]

    def spec(self, bits: str | None = None) -> QuantSpec:
        """The spec of this recipe at width `bits` (wXaY; default: the recipe's own).

        Raises `SpecError` for a spec that cannot be, or that its methods cannot train.
        """
        weight_bits, activation_bits = parse_bits(bits or self.bits)
        spec = QuantSpec.uniform(
            weight_bits,
            activation_bits,
            weights=self.weights,
            activations=self.activations,
            overrides=[_override(self.name, o) for o in self.overrides],
            leftovers=self.leftovers,
        )
        for kind, weight in spec.weights.items():
            _check_trainable(kind, weight)
        return spec

    def check_overrides(self, spec: QuantSpec, num_layers: int) -> None:
        """Raise `SpecError` for an override that names no tensor of such a model, or sets what cannot be trained."""
        weights, activations = weight_names(num_layers, pooler=True), activation_names(num_layers, pooler=True)
        for override in spec.overrides:
            if not fnmatch.filter(weights + activations, override.tensors):
                raise SpecError(
                    f"override {override.tensors!r} names no tensor; names look like {weights[3]} or {activations[0]}"
                )
        for name in weights:
            _check_trainable(name, spec.weight(name))


def _check_trainable(name: str, weight: WeightSpec) -> None:
    if 1 in weight.all_bits and weight.method in _NOT_BINARY:
        raise SpecError(f"{name}: method {weight.method!r} gives 2 to 8 bits, not 1; for 1 bit use 'binary'")


def names() -> list[str]:
    """Recipes that come with the package."""
    files = resources.files("bitbert.recipes").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def load_recipe(name_or_file: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or file and apply settings such as `epochs=1` or `losses.hidden=0`.

    A setting names a field of the recipe by its dotted path; a field of a stage may be named alone and then holds for
    all stages. Raises `RecipeError` for whatever a recipe may not say.
    """
    data = _read(name_or_file)
    where = str(name_or_file)
    for setting in settings:
        _apply(data, setting)
    try:
        recipe = Recipe.model_validate(data)
        recipe.spec()
    except ValidationError as error:
        raise RecipeError(f"recipe {where}: {_first_problem(error)}") from None
    except SpecError as error:
        raise RecipeError(f"recipe {where}: {error}") from None
    return recipe


def _read(name_or_file: str | Path) -> dict[str, Any]:
    path = Path(name_or_file)
    packaged = resources.files("bitbert.recipes").joinpath(f"{name_or_file}.yaml")
    if str(name_or_file) not in names() and not path.is_file():
        raise RecipeError(f"no recipe {str(name_or_file)!r}: expected a YAML file or one of: {', '.join(names())}")
    try:
        data = yaml.safe_load((packaged if str(name_or_file) in names() else path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"recipe {name_or_file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {name_or_file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {name_or_file} must be a mapping, not {type(data).__name__}")
    return data


def _apply(data: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"setting {setting!r} must have the form key=value")
    head = key.split(".")[0]
    value = _parse_value(setting, text)
    if head in Recipe.model_fields:
        _assign(data, key.split("."), value, setting)
    elif head in Stage.model_fields:
        if not (stages := _stages(data)):
            raise RecipeError(f"setting {setting!r}: the recipe has no stages; give the whole path of a field")
        for stage in stages:
            _assign(stage, key.split("."), value, setting)
    else:
        known = ", ".join([*Stage.model_fields, *Recipe.model_fields])
        raise RecipeError(f"setting {setting!r}: unknown key {head!r}, expected one of: {known}")


def _parse_value(setting: str, text: str) -> Any:
    try:
        return _number(yaml.safe_load(text))
    except yaml.YAMLError:
        raise RecipeError(f"setting {setting!r}: {text!r} is not a YAML value") from None


def _number(value: Any) -> Any:
    # YAML 1.1 reads 5e-5 (no point) as a string, and everybody writes learning rates that way.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _stages(data: dict[str, Any]) -> list[dict[str, Any]]:
    stages = data.get("stages")
    return [s for s in stages if isinstance(s, dict)] if isinstance(stages, list) else []


def _assign(target: Any, path: Sequence[str], value: Any, setting: str) -> None:
    for part in path[:-1]:
        target = _child(target, part, setting)
    if not isinstance(target, dict):
        raise RecipeError(f"setting {setting!r}: {'.'.join(path[:-1])} has no field {path[-1]!r}")
    target[path[-1]] = value


def _child(target: Any, part: str, setting: str) -> Any:
    if isinstance(target, list) and part.isdigit() and int(part) < len(target):
        return target[int(part)]
    if not isinstance(target, dict):
        raise RecipeError(f"setting {setting!r}: there is no {part!r} to set")
    return target.setdefault(part, {})


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}"
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}, not {problem['input']!r}"


def _override(recipe: str, data: Mapping[str, Any]) -> Override:
    changes = dict(data)
    tensors = changes.pop("tensors", None)
    if not isinstance(tensors, str):
        raise RecipeError(f"recipe {recipe}: an override needs 'tensors', a pattern on tensor names")
    return Override(tensors, changes)
