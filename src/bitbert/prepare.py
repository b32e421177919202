"""A stock Hugging Face BERT and a spec -> the same model, fake-quantized in place.

Layers are swapped for those in `bitbert.layers`; parameters stay the same tensors under the same names, so optimizers,
checkpoints and heads work as before. New are the quantizers, submodules of the layers that they belong to.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

from bitbert.errors import ModelError, SpecError
from bitbert.layers import attention
from bitbert.layers.activation import QuantActivation
from bitbert.layers.embedding import QuantEmbedding
from bitbert.layers.linear import QuantLinear
from bitbert.layers.product import gemm_dtype
from bitbert.quantizers import (
    ActivationQuantizer,
    FloatActivation,
    FloatWeight,
    WeightQuantizer,
    make_activation,
    make_weight,
)
from bitbert.spec import QuantSpec, WeightSpec, row_groups, tensor_kind, weight_names

ARCHITECTURES = (
    "BertModel",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
HIDDEN_ACTS = ("gelu", "relu", "gelu_new", "gelu_pytorch_tanh")


def check_supported(model: PreTrainedModel) -> None:
    """Raise `ModelError` unless the engine can run models of this architecture and config."""
    architecture, config = type(model).__name__, model.config
    if architecture not in ARCHITECTURES:
        raise ModelError(f"architecture {architecture} is not supported, expected one of: {', '.join(ARCHITECTURES)}")
    if config.hidden_act not in HIDDEN_ACTS:
        allowed = ", ".join(HIDDEN_ACTS)
        raise ModelError(f"hidden_act {config.hidden_act!r} is not supported, expected one of: {allowed}")
    if config.is_decoder:
        raise ModelError("decoders are not supported, expected is_decoder: false in the config")


def base_model(model: PreTrainedModel) -> nn.Module:
    """The bare encoder inside `model` (itself for a BertModel); tensor names of a spec are relative to it."""
    return model if type(model).__name__ == "BertModel" else model.get_submodule("bert")


def prepare(model: PreTrainedModel, spec: QuantSpec) -> PreTrainedModel:
    """Fake-quantize `model` as `spec` says, in place, and return it.

    Learned weight scales start from the weights; activations with a static range need `bitbert.training.calibrate`
    next. Raises `ModelError` for an architecture that is not supported and `SpecError` for a spec that does not fit.
    """
    check_supported(model)
    encoder, config = base_model(model), model.config
    for name in ("word", "position", "token_type"):
        _swap_embedding(encoder, f"embeddings.{name}_embeddings", spec)
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        _prepare_attention(encoder, layer, spec, config.hidden_size // config.num_attention_heads)
        _prepare_feed_forward(encoder, layer, spec)
    if getattr(encoder, "pooler", None) is not None:
        _swap_linear(encoder, "pooler.dense", spec, input="pooler.dense.input")
    attention.register()
    model.set_attn_implementation(attention.NAME)
    for weight, quantizer in quantized_weights(encoder).values():
        quantizer.initialize(weight.detach())
    return model


def check_fits(model: PreTrainedModel, spec: QuantSpec) -> None:
    """Raise `SpecError`, as `prepare` would, unless every `group_bits` has an entry for each row group."""
    encoder, config = base_model(model), model.config
    for name in weight_names(config.num_hidden_layers, getattr(encoder, "pooler", None) is not None):
        in_heads = config.hidden_size // config.num_attention_heads if ".attention.self." in name else None
        _row_groups(spec.weight(name), name, len(encoder.get_parameter(name)), in_heads)


def quantized_weights(encoder: nn.Module) -> dict[str, tuple[Tensor, WeightQuantizer]]:
    """Every quantized weight of a prepared encoder, by its name in the spec."""
    return {
        f"{name}.weight": (module.weight, module.weight_quantizer)
        for name, module in encoder.named_modules()
        if isinstance(module, QuantLinear | QuantEmbedding) and isinstance(module.weight_quantizer, WeightQuantizer)
    }


def quantized_activations(encoder: nn.Module) -> dict[str, ActivationQuantizer]:
    """Every quantized activation of a prepared encoder, by its name in the spec."""
    return {module.tensor: module for module in encoder.modules() if isinstance(module, ActivationQuantizer)}


def _prepare_attention(encoder: nn.Module, layer: str, spec: QuantSpec, head_dim: int) -> None:
    """Hidden states are quantized once for Q, K and V, and Q, K and V as they leave their linear layers."""
    name = f"{layer}.attention.self"
    module = encoder.get_submodule(name)
    module.input_quantizer = _activation(spec, f"{name}.input")
    module.register_forward_pre_hook(_quantize_hidden_states)
    for part in ("query", "key", "value"):
        _swap_linear(encoder, f"{name}.{part}", spec, head_dim=head_dim, output=f"{name}.{part}.output")
    module.probs_quantizer = _activation(spec, f"{name}.probs")
    _swap_linear(encoder, f"{layer}.attention.output.dense", spec, input=f"{layer}.attention.output.dense.input")


def _prepare_feed_forward(encoder: nn.Module, layer: str, spec: QuantSpec) -> None:
    """The input of GELU is quantized as it leaves the first linear layer (if at all), its output before the second."""
    dense, function = f"{layer}.intermediate.dense", f"{layer}.intermediate.intermediate_act_fn"
    to_codes = spec.activation(f"{function}.input").bits is not None
    _swap_linear(encoder, dense, spec, input=f"{dense}.input", output=f"{function}.input" if to_codes else None)
    output_quantizer = _activation(spec, f"{layer}.output.dense.input")
    encoder.set_submodule(function, QuantActivation(encoder.get_submodule(function), output_quantizer))
    _swap_linear(encoder, f"{layer}.output.dense", spec)


def _quantize_hidden_states(module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
    # The stock attention asks of hidden_states only its shape and hands it to query, key and value, so it may be a
    # `Quantized`.
    hidden_states = args[0]
    assert isinstance(hidden_states, Tensor)
    assert isinstance(module.input_quantizer, nn.Module)
    return (module.input_quantizer(hidden_states, gemm_dtype(hidden_states)), *args[1:])


def _swap_linear(
    encoder: nn.Module,
    name: str,
    spec: QuantSpec,
    *,
    head_dim: int | None = None,
    input: str | None = None,
    output: str | None = None,
) -> None:
    """Swap the linear layer `name`; `input` and `output` are the tensors that it quantizes itself."""
    stock = encoder.get_submodule(name)
    assert isinstance(stock, nn.Linear)
    quantizer = _weight(spec, f"{name}.weight", stock.out_features, head_dim)
    ends = [_activation(spec, tensor) if tensor else None for tensor in (input, output)]
    encoder.set_submodule(name, QuantLinear(stock, quantizer, *ends))


def _swap_embedding(encoder: nn.Module, name: str, spec: QuantSpec) -> None:
    stock = encoder.get_submodule(name)
    assert isinstance(stock, nn.Embedding)
    encoder.set_submodule(name, QuantEmbedding(stock, _weight(spec, f"{name}.weight", stock.num_embeddings, None)))


def _weight(spec: QuantSpec, name: str, rows: int, head_dim: int | None) -> WeightQuantizer | FloatWeight:
    weight_spec = spec.weight(name)
    return make_weight(weight_spec, _row_groups(weight_spec, name, rows, head_dim), spec.leftovers)


def _row_groups(spec: WeightSpec, name: str, rows: int, head_dim: int | None) -> list[tuple[int, int]]:
    groups = row_groups(rows, head_dim)
    try:
        spec.bits_of(len(groups))
    except SpecError as error:
        raise SpecError(f"{name}: {error}") from None
    return groups


def _activation(spec: QuantSpec, name: str) -> ActivationQuantizer | FloatActivation:
    quantizer = make_activation(spec.activation(name), tensor_kind(name), spec.leftovers)
    quantizer.tensor = name
    return quantizer
