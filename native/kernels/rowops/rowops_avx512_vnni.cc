// The row operations for avx512_vnni: the bodies of *_lanes.h on its registers.
#include "kernels/lanes/avx512.h"
// Bodies on these registers:
#include "kernels/rowops/dot_lanes.h"
#include "kernels/rowops/embed_lanes.h"
#include "kernels/rowops/functions_lanes.h"
#include "kernels/rowops/layer_norm_lanes.h"
#include "kernels/rowops/quantize_lanes.h"
#include "kernels/rowops/softmax_lanes.h"

// Everything is inlined into the kernel: a call per sixteen floats would cost more than the work.
#define BITBERT_KERNEL __attribute__((flatten))

namespace bitbert::avx512_vnni {

BITBERT_KERNEL void quantize(const float* x, int n, const Quantizer& quantizer, uint8_t* out) {
  quantize_lanes(x, n, quantizer, out);
}

BITBERT_KERNEL TokenScale quantize_per_token(const float* x, int n, bool symmetric, int high, uint8_t* out) {
  return quantize_per_token_lanes(x, n, symmetric, high, out);
}

BITBERT_KERNEL void layer_norm(const float* x, const float* residual, int n, const LayerNormParameters& parameters,
                               float* out, const Quantizer* quantizer, uint8_t* codes) {
  layer_norm_lanes(x, residual, n, parameters, out, quantizer, codes);
}

BITBERT_KERNEL void softmax_quantize(float* scores, int n, const Quantizer& quantizer, uint8_t* out) {
  softmax_lanes(scores, n, quantizer, out);
}

BITBERT_KERNEL void apply(Function function, const float* x, int n, float* out) { apply_lanes(function, x, n, out); }

BITBERT_KERNEL void embed(const EmbeddingRow& word, const EmbeddingRow& token_type, const EmbeddingRow& position, int n,
                          float* out) {
  embed_lanes(word, token_type, position, n, out);
}

BITBERT_KERNEL float dot(const float* x, const float* y, int n) { return dot_lanes(x, y, n); }

}  // namespace bitbert::avx512_vnni
