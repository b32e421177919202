// The reference for quantize and quantize_per_token.
#include "kernels/rowops/rowops.h"
#include "kernels/rowops/scalar_math.h"

namespace bitbert::scalar {
namespace {

constexpr float kSmallestRange = 0x1p-60f;

float max(float a, float b) { return a > b ? a : b; }
float min(float a, float b) { return a < b ? a : b; }

Quantizer symmetric_quantizer(const float* x, int n, int high) {
  float range = 0;
  for (int i = 0; i < n; ++i) range = max(x[i] < 0 ? -x[i] : x[i], range);
  const float scale = max(range, kSmallestRange) / static_cast<float>(high - 128);
  return make_quantizer(scale, 128, 256 - high, high, 1);
}

Quantizer asymmetric_quantizer(const float* x, int n, int high) {
  float lo = 0, hi = 0;
  for (int i = 0; i < n; ++i) {
    lo = min(x[i], lo);
    hi = max(x[i], hi);
  }
  const float top = static_cast<float>(high);
  const float scale = max(hi - lo, kSmallestRange) / top;
  const float zero_point = min(max(rint(-lo * (1.0f / scale)), 0), top);
  return make_quantizer(scale, static_cast<int>(zero_point), 0, high, 1);
}

}  // namespace

void quantize(const float* x, int n, const Quantizer& quantizer, uint8_t* out) {
  for (int i = 0; i < n; ++i) out[i] = quantize_one(x[i], quantizer);
}

TokenScale quantize_per_token(const float* x, int n, bool symmetric, int high, uint8_t* out) {
  const Quantizer quantizer = symmetric ? symmetric_quantizer(x, n, high) : asymmetric_quantizer(x, n, high);
  quantize(x, n, quantizer, out);
  return {quantizer.scale, quantizer.zero_point};
}

}  // namespace bitbert::scalar
