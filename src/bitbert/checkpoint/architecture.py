"""The dimensions of an encoder, taken from a Hugging Face config and checked.

Says how large every tensor is; not how it is quantized (`bitbert.spec`) nor how it is stored (`layout.py`). A config
may come from a hostile file, so every value is checked here, before anything is allocated by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bitbert.errors import CheckpointError
from bitbert.spec import tensor_kind

# architectures[0] -> (what the head reads, name of the head's linear layer, name prefix of the encoder, has a pooler)
_KNOWN = {
    "BertModel": ("none", "", "", True),
    "BertForSequenceClassification": ("sequence", "classifier", "bert.", True),
    "BertForTokenClassification": ("token", "classifier", "bert.", False),
    "BertForQuestionAnswering": ("token", "qa_outputs", "bert.", False),
}
HIDDEN_ACTS = ("gelu", "relu", "gelu_new", "gelu_pytorch_tanh")

# Inner dimensions up to 65536 keep sums of byte products inside 32 bits; the other bounds are a sanity check only.
_LIMITS = {
    "hidden_size": 65536,
    "num_hidden_layers": 1024,
    "num_attention_heads": 65536,
    "intermediate_size": 65536,
    "vocab_size": 2**24,
    "max_position_embeddings": 65536,
    "type_vocab_size": 65536,
}
SIZES = tuple(_LIMITS)
_MAX_LABELS = 65536

# What stays float in each layer at the width of the residual stream.
_LAYER_FLOATS = (
    *(f"attention.self.{part}.bias" for part in ("query", "key", "value")),
    *(f"{part}.dense.bias" for part in ("attention.output", "output")),
    *(f"{part}.LayerNorm.{which}" for part in ("attention.output", "output") for which in ("weight", "bias")),
)


@dataclass(frozen=True)
class Architecture:
    """Sizes and kind of a BERT encoder with its head; `head` is `none`, `sequence` or `token`."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str
    head: str
    head_name: str
    prefix: str
    pooler: bool
    num_labels: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Check a Hugging Face config; raises `CheckpointError` naming the field that is missing or wrong."""
        head, head_name, prefix, pooler = _KNOWN[_architecture_name(config)]
        sizes = {name: _size(config, name, limit) for name, limit in _LIMITS.items()}
        hidden, heads = sizes["hidden_size"], sizes["num_attention_heads"]
        if hidden % heads:
            raise CheckpointError(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
        _check_plain_encoder(config)
        return cls(
            **sizes,
            layer_norm_eps=_epsilon(config),
            hidden_act=_choice(config, "hidden_act", HIDDEN_ACTS),
            head=head,
            head_name=head_name,
            prefix=prefix,
            pooler=pooler,
            num_labels=_num_labels(config, head_name),
        )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def weight_shape(self, name: str) -> tuple[int, int]:
        """(output rows, columns) of the quantized weight called `name`, as in `bitbert.spec.weight_names`."""
        embeddings = {
            "word_embedding": self.vocab_size,
            "position_embedding": self.max_position_embeddings,
            "token_type_embedding": self.type_vocab_size,
        }
        if name.endswith(".intermediate.dense.weight"):
            return self.intermediate_size, self.hidden_size
        if name.endswith(".output.dense.weight") and not name.endswith(".attention.output.dense.weight"):
            return self.hidden_size, self.intermediate_size
        return embeddings.get(tensor_kind(name), self.hidden_size), self.hidden_size

    def weight_head_dim(self, name: str) -> int | None:
        """`head_dim` for Q, K and V, whose row groups stay inside one head; None for every other weight."""
        return self.head_dim if ".attention.self." in name else None

    def float_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors that stay float, by name without prefix: biases, LayerNorm, head."""
        hidden = (self.hidden_size,)
        shapes: dict[str, tuple[int, ...]] = {f"embeddings.LayerNorm.{part}": hidden for part in ("weight", "bias")}
        for i in range(self.num_hidden_layers):
            shapes |= {f"encoder.layer.{i}.{name}": hidden for name in _LAYER_FLOATS}
            shapes[f"encoder.layer.{i}.intermediate.dense.bias"] = (self.intermediate_size,)
        if self.pooler:
            shapes["pooler.dense.bias"] = hidden
        if self.head_name:
            shapes[f"{self.head_name}.weight"] = (self.num_labels, self.hidden_size)
            shapes[f"{self.head_name}.bias"] = (self.num_labels,)
        return shapes

    def stored_name(self, name: str) -> str:
        """The Hugging Face name of a tensor: the encoder's get the prefix, the head's do not."""
        is_head = self.head_name and name.startswith(f"{self.head_name}.")
        return name if is_head else self.prefix + name


def _architecture_name(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if not isinstance(name, str) or name not in _KNOWN:
        raise CheckpointError(f"architecture {name!r} is not supported, expected one of: {', '.join(_KNOWN)}")
    return name


def _size(config: Mapping[str, Any], name: str, limit: int) -> int:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= limit:
        raise CheckpointError(f"{name} must be a whole number from 1 to {limit}, not {value!r}")
    return value


def _epsilon(config: Mapping[str, Any]) -> float:
    value = config.get("layer_norm_eps")
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise CheckpointError(f"layer_norm_eps must be a number between 0 and 1, not {value!r}")
    return float(value)


def _choice(config: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> str:
    value = config.get(name)
    if value not in allowed:
        raise CheckpointError(f"{name} {value!r} is not supported, expected one of: {', '.join(allowed)}")
    return str(value)


def _check_plain_encoder(config: Mapping[str, Any]) -> None:
    for name in ("is_decoder", "add_cross_attention"):
        if config.get(name):
            raise CheckpointError(f"{name} is set, but only plain encoders are supported")
    position = config.get("position_embedding_type")
    if position not in (None, "absolute"):
        raise CheckpointError(f"position_embedding_type {position!r} is not supported, expected 'absolute'")


def _num_labels(config: Mapping[str, Any], head_name: str) -> int:
    """Labels of the head: as many as `id2label` lists; Hugging Face leaves it out when there are two."""
    if not head_name:
        return 0
    labels = config.get("id2label")
    if labels is None:
        return 2
    if not isinstance(labels, Mapping) or not 0 < len(labels) <= _MAX_LABELS:
        raise CheckpointError(f"id2label must be an object of 1 to {_MAX_LABELS} labels")
    if {str(key) for key in labels} != {str(i) for i in range(len(labels))}:
        raise CheckpointError(f"id2label must name the labels 0 to {len(labels) - 1}")
    if head_name == "qa_outputs" and len(labels) != 2:
        raise CheckpointError(f"question answering needs 2 labels (start and end), not {len(labels)}")
    return len(labels)
