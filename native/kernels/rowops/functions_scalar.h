// exp, erf, tanh and the activations of docs/numerics.md, "Functions", for one float. For the scalar kernels only.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/rowops/functions.h"
#include "kernels/rowops/scalar_math.h"

namespace bitbert::scalar {

inline float horner(const float (&c)[functions::kDegree + 1], float x) {
  float p = c[functions::kDegree];
  for (int i = functions::kDegree - 1; i >= 0; --i) p = fma(p, x, c[i]);
  return p;
}

inline float copy_sign(float magnitude, float sign) {
  constexpr uint32_t kSign = 0x80000000u;
  const uint32_t bits = (std::bit_cast<uint32_t>(magnitude) & ~kSign) | (std::bit_cast<uint32_t>(sign) & kSign);
  return std::bit_cast<float>(bits);
}

inline float exp(float x) {
  x = x > functions::kExpMin ? x : functions::kExpMin;
  const float k = rint(x * functions::kLog2e);
  const float r = fma(k, -functions::kLn2Lo, fma(k, -functions::kLn2Hi, x));
  const float p = horner(functions::kExp, r);
  return std::bit_cast<float>(std::bit_cast<int32_t>(p) + (static_cast<int32_t>(k) << 23));
}

inline float erf(float x) {
  float a = copy_sign(x, 0);
  if (a < 1) return copy_sign(fma(a, horner(functions::kErfSmall, a * a), a), x);
  a = a < functions::kErfMax ? a : functions::kErfMax;
  return copy_sign(1 - exp(-horner(functions::kErfLarge, a)), x);
}

inline float tanh(float x) {
  const float t = exp(-2 * copy_sign(x, 0));
  return copy_sign((1 - t) / (1 + t), x);
}

inline float gelu(float x) { return (0.5f * x) * (1 + erf(x * functions::kSqrtHalf)); }

inline float gelu_tanh(float x) {
  const float inner = fma(functions::kGeluTanhCubic * x, x * x, x);
  return (0.5f * x) * (1 + tanh(functions::kSqrt2OverPi * inner));
}

inline float relu(float x) { return x > 0 ? x : 0; }

}  // namespace bitbert::scalar
