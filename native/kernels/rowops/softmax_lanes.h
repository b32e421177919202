// softmax_quantize, sixteen at a time. Include after lanes/<isa>.h.
#pragma once

#include "kernels/rowops/functions_lanes.h"
#include "kernels/rowops/quantize_lanes.h"

namespace bitbert {
namespace {

BITBERT_INLINE void softmax_lanes(float* scores, int n, const Quantizer& quantizer, uint8_t* out) {
  const float none = -__builtin_inff();
  Lanes tops = splat(none);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) tops = max(load(scores + i), tops);
  float top = largest(tops);
  for (; i < n; ++i) top = max(scores[i], top);

  Lanes total = splat(0.0f);
  for_lanes(n, [&](int j, int count) {
    const Lanes e = keep_first(exp(load(scores + j, count) - splat(top)), count);
    store(scores + j, e, count);
    total = total + e;
  });
  Quantizer normalized = quantizer;  // one factor divides by the sum and by the scale
  normalized.inverse_scale = quantizer.inverse_scale / sum(total);
  quantize_lanes(scores, n, normalized, out);
}

}  // namespace
}  // namespace bitbert
