// Everything an encoder holds after loading, ready for the kernels. Built once, read by all threads.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "model/arena.h"
#include "model/config.h"
#include "model/embedding.h"
#include "model/linear.h"

namespace bitbert {

// One quantized activation.
struct Activation {
  std::string name;
  ActivationKind kind = ActivationKind::kFloat;
  Quantizer quantizer;  // static kinds
  int high = 0;         // per-token kinds: the largest code

  bool is_static() const { return kind == ActivationKind::kStatic; }
};

struct LayerNorm {
  std::vector<float> gamma, beta;
  float eps = 0;

  LayerNormParameters parameters() const { return {gamma.data(), beta.data(), eps}; }
};

// The activation function after a static input: its value, and code if the output is static too, for every input code.
struct ActivationTable {
  std::array<float, 256> values;
  std::array<uint8_t, 256> codes;
};

// The columns of the values, and of the context, that belong to one head.
struct HeadColumns {
  int first, count;
};

struct EncoderLayer {
  Activation input, query_output, key_output, value_output, probs;
  Activation attention_output_input, intermediate_input, gelu_input, output_input;
  Linear query, key, value, attention_output, intermediate, output;
  LayerNorm attention_norm, output_norm;
  ActivationTable gelu_table;              // if gelu_input is static
  std::vector<HeadColumns> value_columns;  // of each head
};

struct Weights {
  EncoderConfig config;
  Function hidden_act;
  EmbeddingTable word, token_type, position;
  LayerNorm embedding_norm;
  std::vector<EncoderLayer> layers;
  Activation pooler_input;
  Linear pooler;
  std::vector<float> head_weight, head_bias;  // [labels][hidden], [labels]

  Arena storage;  // packed codes and what goes with their columns
  size_t bytes = 0;
};

// Throws std::invalid_argument, naming the tensor or setting, on anything missing, superfluous, inconsistent or out of
// range.
Weights build_weights(const EncoderSource& source, const Kernels& kernels);

}  // namespace bitbert
