// What an encoder is built from, as plain values: shapes, packed weights, activation scales and float tensors, by the
// names of bitbert.spec. No Python, no files.
#pragma once

#include <map>
#include <span>
#include <string>

#include "model/packing.h"

namespace bitbert {

enum class Head { kNone, kSequence, kToken };

struct EncoderConfig {
  int hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
  int vocab_size, max_position_embeddings, type_vocab_size;
  float layer_norm_eps;
  std::string hidden_act;
  bool pooler;
  Head head;
  int num_labels;

  int head_dim() const { return hidden_size / num_attention_heads; }
};

enum class ActivationKind { kStatic, kPerTokenSymmetric, kPerTokenAsymmetric, kFloat };

struct ActivationScale {
  float scale;
  int zero_point, low, high, step;
  ActivationKind kind;
};

// All spans need to live only while the encoder is built.
struct EncoderSource {
  EncoderConfig config;
  std::map<std::string, PackedWeight> weights;
  std::map<std::string, ActivationScale> activations;
  std::map<std::string, std::span<const float>> floats;
};

}  // namespace bitbert
