// quantize and quantize_per_token, sixteen at a time. Include after lanes/<isa>.h.
#pragma once

#include "kernels/lanes/loop.h"
#include "kernels/rowops/rowops.h"

namespace bitbert {
namespace {

BITBERT_INLINE void store_codes(uint8_t* out, Lanes x, const Quantizer& q, int n) {
  Lanes t;
  if (q.sign) {
    t = select_at_least(x, splat(0.0f), splat(1.0f), splat(-1.0f));
  } else {
    t = min(max(x * splat(q.inverse_scale), splat(q.low)), splat(q.high));
  }
  store_bytes(out, to_int(t) + splat(q.zero_point), n);
}

BITBERT_INLINE void quantize_lanes(const float* x, int n, const Quantizer& quantizer, uint8_t* out) {
  for_lanes(n, [&](int i, int count) { store_codes(out + i, load(x + i, count), quantizer, count); });
}

constexpr float kSmallestRange = 0x1p-60f;

BITBERT_INLINE float max(float a, float b) { return a > b ? a : b; }
BITBERT_INLINE float min(float a, float b) { return a < b ? a : b; }

BITBERT_INLINE Quantizer symmetric_quantizer(const float* x, int n, int high) {
  Lanes range = splat(0.0f);
  for_lanes(n, [&](int i, int count) { range = max(copy_sign(load(x + i, count), splat(0.0f)), range); });
  const float scale = max(largest(range), kSmallestRange) / static_cast<float>(high - 128);
  return make_quantizer(scale, 128, 256 - high, high, 1);
}

BITBERT_INLINE Quantizer asymmetric_quantizer(const float* x, int n, int high) {
  Lanes low = splat(0.0f), top = splat(0.0f);
  for_lanes(n, [&](int i, int count) {
    low = min(load(x + i, count), low);
    top = max(load(x + i, count), top);
  });
  const float lo = smallest(low), levels = static_cast<float>(high);
  const float scale = max(largest(top) - lo, kSmallestRange) / levels;
  const Lanes zero_point = rint(splat(-lo * (1.0f / scale)));
  return make_quantizer(scale, static_cast<int>(min(max(largest(zero_point), 0.0f), levels)), 0, high, 1);
}

BITBERT_INLINE TokenScale quantize_per_token_lanes(const float* x, int n, bool symmetric, int high, uint8_t* out) {
  const Quantizer quantizer = symmetric ? symmetric_quantizer(x, n, high) : asymmetric_quantizer(x, n, high);
  quantize_lanes(x, n, quantizer, out);
  return {quantizer.scale, quantizer.zero_point};
}

}  // namespace
}  // namespace bitbert
