#include "model/codes.h"

#include <algorithm>

namespace bitbert {
namespace {

void clear_end(const CodeRows& rows, int64_t count, int columns) {
  if (columns == rows.stride) return;
  for (int64_t r = 0; r < count; ++r) {
    uint8_t* row = rows.codes + r * rows.stride;
    const int64_t end = (columns + kBlockK - 1) / kBlockK * kBlockK;
    std::fill(row + columns, row + end, uint8_t{0});
  }
}

}  // namespace

void complete(const CodeRows& rows, int64_t count, int columns, const Quantizer& quantizer) {
  std::fill_n(rows.scale, count, quantizer.scale);
  std::fill_n(rows.zero_point, count, quantizer.zero_point);
  clear_end(rows, count, columns);
}

void quantize_rows(const Kernels& kernels, const Activation& activation, const float* x, int64_t stride, int64_t count,
                   int columns, const CodeRows& out) {
  if (activation.is_static()) {
    for (int64_t r = 0; r < count; ++r) {
      kernels.quantize(x + r * stride, columns, activation.quantizer, out.codes + r * out.stride);
    }
    return complete(out, count, columns, activation.quantizer);
  }
  const bool symmetric = activation.kind == ActivationKind::kPerTokenSymmetric;
  for (int64_t r = 0; r < count; ++r) {
    const TokenScale token =
        kernels.quantize_per_token(x + r * stride, columns, symmetric, activation.high, out.codes + r * out.stride);
    out.scale[r] = token.scale;
    out.zero_point[r] = token.zero_point;
  }
  clear_end(out, count, columns);
}

}  // namespace bitbert
