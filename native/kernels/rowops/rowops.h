// Everything that is done to one row of floats. Order and rounding of each operation: docs/numerics.md. Any n >= 1
// (softmax too); nothing is read or written beyond element n - 1.
#pragma once

#include <cstdint>

#include "kernels/quantizer.h"

namespace bitbert {

// out[i] = code of x[i]. Signed codes (keys, values) are their low byte.
using QuantizeFn = void(const float* x, int n, const Quantizer& quantizer, uint8_t* out);

struct TokenScale {
  float scale;
  int32_t zero_point;
};

// Quantizes with the range of this row. `high` is the largest code: 128 + n symmetric, 2^b - 1 asymmetric.
using QuantizePerTokenFn = TokenScale(const float* x, int n, bool symmetric, int high, uint8_t* out);

struct LayerNormParameters {
  const float* gamma;  // [n]
  const float* beta;   // [n]
  float eps;
};

// out = layer_norm(x + residual), and codes = those of out; residual may be null, out may be x or residual, and without
// a quantizer there are no codes.
using LayerNormFn = void(const float* x, const float* residual, int n, const LayerNormParameters& parameters,
                         float* out, const Quantizer* quantizer, uint8_t* codes);

// Probabilities of a row of scores as codes; `scores` is overwritten.
using SoftmaxFn = void(float* scores, int n, const Quantizer& quantizer, uint8_t* out);

enum class Function { kExp, kErf, kTanh, kGelu, kGeluTanh, kRelu };

// out[i] = function(x[i]); out may be x.
using ApplyFn = void(Function function, const float* x, int n, float* out);

struct EmbeddingRow {
  const int8_t* codes;  // [n]
  float scale;
};

// out = position + (token type + word).
using EmbedFn = void(const EmbeddingRow& word, const EmbeddingRow& token_type, const EmbeddingRow& position, int n,
                     float* out);

using DotFn = float(const float* x, const float* y, int n);

// codes[i] = table[codes[i]]; the table has 256 bytes.
using TranslateFn = void(uint8_t* codes, int n, const uint8_t* table);

#define BITBERT_DECLARE_ROWOPS           \
  QuantizeFn quantize;                   \
  QuantizePerTokenFn quantize_per_token; \
  LayerNormFn layer_norm;                \
  SoftmaxFn softmax_quantize;            \
  ApplyFn apply;                         \
  EmbedFn embed;                         \
  DotFn dot;

namespace scalar {
BITBERT_DECLARE_ROWOPS
TranslateFn translate;
}  // namespace scalar
namespace avx2 {
BITBERT_DECLARE_ROWOPS
}
namespace avx512_vnni {
BITBERT_DECLARE_ROWOPS
}

namespace avx512_vbmi {
TranslateFn translate;
}

#undef BITBERT_DECLARE_ROWOPS

}  // namespace bitbert
