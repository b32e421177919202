"""A stock Hugging Face BERT and a spec -> the same model, fake-quantized in place.

Layers are swapped for those in `bitbert.layers`; parameters stay the same tensors under the same names, so optimizers, checkpoints
and heads work as before. New are the quantizers, submodules of the layers that they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from transformers import PreTrainedModel

from bitbert.errors import ModelError, SpecError
from bitbert.layers import attention
from bitbert.layers.activation import QuantActivation
from bitbert.layers.embedding import QuantEmbedding
from bitbert.layers.linear import QuantLinear
from bitbert.layers.product import gemm_dtype
from bitbert.quantizers import ActivationQuantizer, FloatActivation, WeightQuantizer, make_activation, make_weight
from bitbert.spec import QuantSpec, row_groups, tensor_kind

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
        raise ModelError(f"hidden_act {config.hidden_act!r} is not supported, expected one of: {', '.join(HIDDEN_ACTS)}")
    if config.is_decoder:
        raise ModelError("decoders are not supported, expected is_decoder: false in the config")


def base_model(model: PreTrainedModel) -> nn.Module:
    """The bare encoder inside `model` (itself for a BertModel); tensor names of a spec are relative to it."""
    encoder: nn.Module = model if type(model).__name__ == "BertModel" else model.bert
    return encoder


def prepare(model: PreTrainedModel, spec: QuantSpec) -> PreTrainedModel:
    """Fake-quantize `model` as `spec` says, in place, and return it.

    Learned weight scales start from the weights; activations with a static range need `bitbert.training.calibrate` next. Raises
    `ModelError` for an architecture that is not supported and `SpecError` for a spec that does not fit.
    """
    check_supported(model)
    encoder, config = base_model(model), model.config
    for name in ("word", "position", "token_type"):
        _swap_embedding(encoder, f"embeddings.{name}_embeddings", spec)
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        _prepare_attention(encoder, f"{layer}.attention.self", spec, config.hidden_size // config.num_attention_heads)
        _swap_gelu(encoder, f"{layer}.intermediate.intermediate_act_fn", spec)
        for part in ("attention.output", "intermediate", "output"):
            _swap_linear(encoder, f"{layer}.{part}.dense", spec)
    if getattr(encoder, "pooler", None) is not None:
        _swap_linear(encoder, "pooler.dense", spec)
    attention.register()
    model.set_attn_implementation(attention.NAME)
    for weight, quantizer in quantized_weights(encoder).values():
        quantizer.initialize(weight.detach())
    return model


def quantized_weights(encoder: nn.Module) -> dict[str, tuple[nn.Parameter, WeightQuantizer]]:
    """Every quantized weight of a prepared encoder, by its name in the spec."""
    return {
        f"{name}.weight": (module.weight, module.weight_quantizer)
        for name, module in encoder.named_modules()
        if isinstance(module, QuantLinear | QuantEmbedding)
    }


def quantized_activations(encoder: nn.Module) -> dict[str, ActivationQuantizer]:
    """Every quantized activation of a prepared encoder, by its name in the spec."""
    found = dict(_named_activations(encoder))
    return {name: module for name, module in found.items() if isinstance(module, ActivationQuantizer)}


def _named_activations(encoder: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, module in encoder.named_modules():
        owner, _, attribute = path.rpartition(".")
        if attribute == "input_quantizer":
            yield f"{owner}.input", module
        elif owner.endswith(".operand_quantizers"):
            base = owner.removesuffix(".operand_quantizers")
            yield (f"{base}.probs" if attribute == "probs" else f"{base}.{attribute}.output"), module


def _prepare_attention(encoder: nn.Module, name: str, spec: QuantSpec, head_dim: int) -> None:
    module = encoder.get_submodule(name)
    module.input_quantizer = _activation(spec, f"{name}.input")
    module.register_forward_pre_hook(_quantize_hidden_states)
    tensors = {operand: f"{name}.{operand}.output" for operand in ("query", "key", "value")} | {"probs": f"{name}.probs"}
    module.operand_quantizers = nn.ModuleDict({operand: _activation(spec, t) for operand, t in tensors.items()})
    for part in ("query", "key", "value"):
        _swap_linear(encoder, f"{name}.{part}", spec, head_dim=head_dim, own_input=False)


def _quantize_hidden_states(module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
    # The stock attention asks of hidden_states only its shape and hands it to query, key and value, so it may be a `Quantized`.
    hidden_states = args[0]
    assert isinstance(hidden_states, Tensor) and isinstance(module.input_quantizer, nn.Module)
    return (module.input_quantizer(hidden_states, gemm_dtype(hidden_states)), *args[1:])


def _swap_linear(
    encoder: nn.Module, name: str, spec: QuantSpec, *, head_dim: int | None = None, own_input: bool = True
) -> None:
    stock = encoder.get_submodule(name)
    assert isinstance(stock, nn.Linear)
    quantizer = _weight(spec, f"{name}.weight", stock.out_features, head_dim)
    encoder.set_submodule(
        name, QuantLinear(stock, quantizer, _activation(spec, f"{name}.input") if own_input else None)
    )


def _swap_embedding(encoder: nn.Module, name: str, spec: QuantSpec) -> None:
    stock = encoder.get_submodule(name)
    assert isinstance(stock, nn.Embedding)
    encoder.set_submodule(name, QuantEmbedding(stock, _weight(spec, f"{name}.weight", stock.num_embeddings, None)))


def _swap_gelu(encoder: nn.Module, name: str, spec: QuantSpec) -> None:
    quantizer = _activation(spec, f"{name}.input")
    if isinstance(quantizer, ActivationQuantizer):
        encoder.set_submodule(name, QuantActivation(encoder.get_submodule(name), quantizer))


def _weight(spec: QuantSpec, name: str, rows: int, head_dim: int | None) -> WeightQuantizer:
    weight_spec, groups = spec.weight(name), row_groups(rows, head_dim)
    if weight_spec.group_bits is not None and len(weight_spec.group_bits) != len(groups):
        raise SpecError(f"{name}: group_bits has {len(weight_spec.group_bits)} entries, expected {len(groups)}")
    return make_weight(weight_spec, groups, spec.leftovers)


def _activation(spec: QuantSpec, name: str) -> ActivationQuantizer | FloatActivation:
    return make_activation(spec.activation(name), tensor_kind(name), spec.leftovers)
