// layer_norm, sixteen at a time. Include after lanes/<isa>.h.
#pragma once

#include "kernels/lanes/loop.h"
#include "kernels/rowops/quantize_lanes.h"

namespace bitbert {
namespace {

BITBERT_INLINE float reciprocal_root(float x) { return 1.0f / _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

template <bool kResidual, bool kQuantize>
BITBERT_INLINE void layer_norm_lanes(const float* x, const float* residual, int n, const LayerNormParameters& p,
                                     float* out, const Quantizer& quantizer, uint8_t* codes) {
  const auto h = [&](int i, int count) {
    if constexpr (kResidual) return load(x + i, count) + load(residual + i, count);
    return load(x + i, count);
  };
  const float size = static_cast<float>(n);
  Lanes total = splat(0.0f), squares = splat(0.0f);
  for_lanes(n, [&](int i, int count) { total = total + h(i, count); });
  const Lanes mean = splat(sum(total) / size);
  for_lanes(n, [&](int i, int count) {
    const Lanes d = keep_first(h(i, count) - mean, count);
    squares = fma(d, d, squares);
  });
  const Lanes rstd = splat(reciprocal_root(sum(squares) / size + p.eps));
  for_lanes(n, [&](int i, int count) {
    const Lanes scaled = (h(i, count) - mean) * rstd;
    const Lanes y = fma(scaled, load(p.gamma + i, count), load(p.beta + i, count));
    store(out + i, y, count);
    if constexpr (kQuantize) store_codes(codes + i, y, quantizer, count);
  });
}

BITBERT_INLINE void layer_norm_lanes(const float* x, const float* residual, int n, const LayerNormParameters& p,
                                     float* out, const Quantizer* quantizer, uint8_t* codes) {
  if (residual && quantizer) return layer_norm_lanes<true, true>(x, residual, n, p, out, *quantizer, codes);
  if (residual) return layer_norm_lanes<true, false>(x, residual, n, p, out, {}, nullptr);
  if (quantizer) return layer_norm_lanes<false, true>(x, nullptr, n, p, out, *quantizer, codes);
  layer_norm_lanes<false, false>(x, nullptr, n, p, out, {}, nullptr);
}

}  // namespace
}  // namespace bitbert
