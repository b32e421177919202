"""What a recipe may say, and reading one: YAML -> `Recipe`, checked, with `key=value` settings on top.

A recipe gives a quantizer to every kind of tensor and a list of training stages. Its width is a default: `--bits` names
another, so one recipe serves all widths that its quantizers can do. A file may name another recipe as its `base`, and
then says only what is different. What a stage does not say itself it takes from the top level of the file.
"""

from __future__ import annotations

import copy
import fnmatch
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bitbert.errors import RecipeError, SpecError
from bitbert.spec import (
    ACTIVATION_KINDS,
    FLOAT_BITS,
    ONE_BIT_METHODS,
    WEIGHT_KINDS,
    Override,
    QuantSpec,
    WeightSpec,
    activation_names,
    parse_bits,
    tensor_kind,
    weight_names,
)

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]

MAX_BASES = 8  # a recipe that stands on more stands on itself
MODEL = "model"  # what stages call the float model that was given

Initialisation = Literal["minmax", "percentile", "histogram", "mse"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Losses(_Strict):
    """Weights of the terms of the training loss; 0 leaves a term out (and what it would need uncomputed).

    What each compares is said in `bitbert.training.distill`.
    """

    labels: NonNegative = 1.0
    logits: NonNegative = 0.0
    scores: NonNegative = 0.0
    hidden: NonNegative = 0.0
    attention: NonNegative = 0.0
    last_attention: NonNegative = 0.0
    last_values: NonNegative = 0.0

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with a teacher."""
        return any(weight for name, weight in self if name != "labels")

    @property
    def needs_scores(self) -> bool:
        """Whether any term compares attention scores, or what follows from them."""
        return bool(self.scores or self.attention or self.last_attention)


class Calibration(_Strict):
    """How ranges start: training batches that are shown to the model, and the rule by which a learned range is set."""

    batches: Annotated[int, Field(ge=1)] = 16
    batch_size: Annotated[int, Field(ge=1)] = 32
    weights: Initialisation = "percentile"
    activations: Initialisation = "histogram"


class Stage(_Strict):
    """One run of the training loop. Learning rates are for weights, weight scales and activation scales.

    `start` and `teacher` name an earlier stage, or `model`: the float model that was given. A stage starts from the
    one before it and learns from the model unless it says otherwise. `bits` (wXaY, 32 for float) is its width if
    that is not yet the final one; where the width changes, weights are kept, and scales start anew. `copies` adds
    so many augmented copies of each training text, `recombined` so many new pairs for each pair of texts. Small
    data are gone through more often than `epochs` until there were `min_steps`. `dropout` None keeps the model's
    own. `warmup` is a fraction of the steps; after it rates fall linearly to 0. `adam_beta2` is how much of the
    past AdamW's mean of squared gradients keeps at every step.
    """

    name: str | None = None
    start: str | None = None
    teacher: str = "model"
    bits: str | None = None
    copies: Annotated[int, Field(ge=0)] = 0
    recombined: Annotated[int, Field(ge=0)] = 0
    epochs: Positive = 3.0
    min_steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Positive = 5e-5
    weight_scale_learning_rate: NonNegative = 1e-3
    activation_scale_learning_rate: NonNegative = 1e-2
    weight_decay: NonNegative = 0.01
    weight_scale_decay: NonNegative = 0.0
    activation_scale_decay: NonNegative = 0.0
    warmup: Fraction = 0.0
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] = 0.999
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


class LastLayers(_Strict):
    """The last layers of the encoder, a share of all (at least one), at a width of their own (MKQ-BERT)."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    bits: str

    def of(self, num_layers: int) -> range:
        """Their numbers."""
        return range(num_layers - max(1, round(self.share * num_layers)), num_layers)


class Recipe(_Strict):
    """A method: quantizers by kind of tensor (`all` for every kind), calibration, reconstruction if any, stages.

    `widths` changes fields wherever a tensor has that width: `w2` for weights, `a1` for activations; what `weights` and
    `activations` say of a kind by its name goes before it. With `migration` the means of activations move into biases
    first (`bitbert.training.migrate`). Without stages nothing is trained from end to end, and no labels are needed.
    """

    name: str
    description: str
    bits: str = "w8a8"
    weights: dict[str, dict[str, Any]] = {}
    activations: dict[str, dict[str, Any]] = {}
    widths: dict[Annotated[str, Field(pattern="^[wa][0-8]$")], dict[str, Any]] = {}
    last_layers: LastLayers | None = None
    overrides: list[dict[str, Any]] = []
    leftovers: Literal["float16", "float32"] = "float16"
    calibration: Calibration = Calibration()
    migration: bool = False
    reconstruction: Reconstruction | None = None
    stages: list[Stage]

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        earlier = [MODEL]
        for stage in self.stages:
            for what, name in (("starts from", stage.start), ("learns from", stage.teacher)):
                if name is not None and name not in earlier:
                    raise ValueError(f"a stage {what} {name!r}, which is not an earlier one: {', '.join(earlier)}")
            if (stage.copies or stage.recombined) and stage.losses.labels:
                raise ValueError("new texts have no labels: a stage with copies or recombined needs losses.labels 0")
            earlier += [stage.name] if stage.name else []
        if len(set(earlier)) < len(earlier) or (self.stages and self.stages[-1].bits is not None):
            raise ValueError("stages need different names, none of them 'model', and the last one no bits of its own")
        return self

    def spec(self, bits: str | None = None, num_layers: int | None = None) -> QuantSpec:
        """The spec of this recipe at width `bits` (wXaY; default: the recipe's own) for an encoder of `num_layers`.

        Without a number of layers, that of all layers but those that `last_layers` singles out. Raises `SpecError` for
        a spec that cannot be, or that its methods cannot train.
        """
        last = _apart(self.last_layers, self._uniform, num_layers) if self.last_layers and num_layers else []
        return self._uniform(bits or self.bits, last)

    def spec_of(self, stage: Stage, num_layers: int) -> QuantSpec:
        """The spec at which `stage` trains."""
        return self._uniform(stage.bits) if stage.bits else self.spec(num_layers=num_layers)

    def check(self) -> None:
        """Raise `SpecError` unless every width that the recipe names can be trained."""
        for bits in (self.bits, *(stage.bits for stage in self.stages if stage.bits)):
            self._uniform(bits)
        if self.last_layers:
            self._uniform(self.last_layers.bits)

    def _uniform(self, bits: str, more: Sequence[Override] = ()) -> QuantSpec:
        weight_bits, activation_bits = parse_bits(bits)
        spec = QuantSpec.uniform(
            weight_bits,
            activation_bits,
            weights=self._by_kind("w", self.weights, WEIGHT_KINDS, weight_bits),
            activations=self._by_kind("a", self.activations, ACTIVATION_KINDS, activation_bits),
            overrides=[*more, *(_override(self.name, o) for o in self.overrides)],
            leftovers=self.leftovers,
        )
        for kind, weight in spec.weights.items():
            _check_trainable(kind, weight)
        return spec

    def _by_kind(
        self, letter: str, table: Mapping[str, Mapping[str, Any]], kinds: Sequence[str], bits: int | None
    ) -> dict[str, dict[str, Any]]:
        """Fields of each kind: of all, then of its width, then its own; a float stage leaves no width to any."""
        fields: dict[str, dict[str, Any]] = {kind: dict(own) for kind, own in table.items()}
        for kind in kinds:
            plain = {"bits": bits} | dict(table.get("all", {})) | fields.get(kind, {})
            at_width = self.widths.get(f"{letter}{plain['bits']}", {})
            fields[kind] = {"bits": bits} | dict(table.get("all", {})) | at_width | fields.get(kind, {})
            if bits is None:
                fields[kind]["bits"] = None
        return fields

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


def _apart(last: LastLayers, uniform: Callable[[str], QuantSpec], num_layers: int) -> list[Override]:
    """All tensors of the last layers as at their own width."""
    spec = uniform(last.bits)
    layers = tuple(f"encoder.layer.{i}." for i in last.of(num_layers))
    weights = [name for name in weight_names(num_layers, pooler=True) if name.startswith(layers)]
    activations = [name for name in activation_names(num_layers, pooler=True) if name.startswith(layers)]
    return [
        *(Override(name, asdict(spec.weights[tensor_kind(name)])) for name in weights),
        *(Override(name, asdict(spec.activations[tensor_kind(name)])) for name in activations),
    ]


def _check_trainable(name: str, weight: WeightSpec) -> None:
    if 1 in weight.all_bits and weight.method not in ONE_BIT_METHODS:
        raise SpecError(f"{name}: method {weight.method!r} gives 2 to 8 bits, not 1; for 1 bit use 'binary'")


_HOUSE = re.compile("w[1-8]a[1-8]")  # what recipes of our own are called
_STAGE_ONLY = Stage.model_fields.keys() - Recipe.model_fields.keys()


def names() -> list[str]:
    """Recipes that come with the package."""
    files = resources.files("bitbert.recipes").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def default_recipe(bits: str) -> str:
    """The house recipe for a width: the one called so, else that of the next narrower weights, then activations.

    >>> default_recipe("w2a8"), default_recipe("w6a8"), default_recipe("w2a4")
    ('w2a8', 'w4a8', 'w1a4')
    """
    wanted = [FLOAT_BITS if width is None else width for width in parse_bits(bits)]
    house = [tuple(map(int, name[1:].split("a"))) for name in names() if _HOUSE.fullmatch(name)]
    narrower = [width for width in house if width[0] <= wanted[0] and width[1] <= wanted[1]]
    return "w{}a{}".format(*max(narrower))


def load_recipe(name_or_file: str | Path, settings: Sequence[str] = (), bits: str | None = None) -> Recipe:
    """Read a recipe by name or file, with another width if `bits` (wXaY) says so, and settings such as `epochs=1`.

    A setting names a field of the recipe by its dotted path; a field of a stage may be named alone and then holds for
    all stages. Raises `RecipeError` for whatever a recipe may not say.
    """
    data = _read(name_or_file)
    where = str(name_or_file)
    for setting in settings:
        _apply(data, setting)
    if bits is not None:
        data["bits"] = bits
    try:
        recipe = Recipe.model_validate(data)
        recipe.check()
    except ValidationError as error:
        raise RecipeError(f"recipe {where}: {_first_problem(error)}") from None
    except SpecError as error:
        if bits is not None:  # it is the width that was asked for that cannot be, not the file
            raise
        raise RecipeError(f"recipe {where}: {error}") from None
    return recipe


def _read(name_or_file: str | Path) -> dict[str, Any]:
    """What the file says, on top of what its `base` says: a packaged recipe, or a file that is found from this one."""
    chain, place = [_read_one(name_or_file)], Path(name_or_file).parent
    while (base := chain[-1].pop("base", None)) is not None:
        if len(chain) > MAX_BASES:
            raise RecipeError(f"recipe {name_or_file} has more than {MAX_BASES} bases, one on the other")
        where = base if base in names() else place / str(base)
        chain.append(_read_one(where))
        place = Path(where).parent
    return _with_defaults(functools.reduce(_merged, reversed(chain)))


def _with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """Each stage with the fields that it leaves to the top level of the file."""
    common = {key: data[key] for key in data.keys() & _STAGE_ONLY}
    rest = {key: value for key, value in data.items() if key not in common}
    if isinstance(rest.get("stages"), list):
        rest["stages"] = [_stage(common, stage) for stage in rest["stages"]]
    return rest


def _stage(common: dict[str, Any], own: Any) -> Any:
    """Copied, since a setting may change what stages have in common here; what is no mapping is left to the check."""
    return copy.deepcopy(_merged(common, own)) if isinstance(own, dict) else own


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` on top: mappings field by field, all else replaced."""
    both = {key: _merged(base[key], value) for key, value in changes.items() if _are_mappings(base.get(key), value)}
    return base | changes | both


def _are_mappings(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _read_one(name_or_file: str | Path) -> dict[str, Any]:
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
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}, not {problem['input']!r}"


def _override(recipe: str, data: Mapping[str, Any]) -> Override:
    changes = dict(data)
    tensors = changes.pop("tensors", None)
    if not isinstance(tensors, str):
        raise RecipeError(f"recipe {recipe}: an override needs 'tensors', a pattern on tensor names")
    return Override(tensors, changes)
