// The float32 operations that plain C++ lacks without libm: a correctly rounded fma, rint, and one element of quantize.
// For the scalar kernels only.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/quantizer.h"

namespace bitbert::scalar {

// x * y + z rounded once. The product is exact in double. The sum is rounded to odd: when Knuth's TwoSum finds it
// inexact, its last bit is made 1, so the final rounding to 24 bits sees no false tie (Boldo and Melquiond, "Emulation
// of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
inline float fma(float x, float y, float z) {
  const double product = static_cast<double>(x) * y;
  const double addend = z;
  const double sum = product + addend;
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);
  uint64_t bits = std::bit_cast<uint64_t>(sum);
  const bool inexact = error > 0 || error < 0;  // false for the NaN of an infinite sum
  if (inexact && (bits & 1) == 0) bits += (error > 0) == (sum > 0) ? 1 : -1;
  return static_cast<float>(std::bit_cast<double>(bits));
}

// Nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction.
inline float rint(float x) {
  constexpr float kShift = 0x1.8p+23f;
  return (x + kShift) - kShift;
}

inline uint8_t quantize_one(float x, const Quantizer& q) {
  if (q.sign) return static_cast<uint8_t>(q.zero_point + (x >= 0 ? 1 : -1));
  float t = x * q.inverse_scale;
  t = t > q.low ? t : q.low;
  t = t < q.high ? t : q.high;
  return static_cast<uint8_t>(static_cast<int32_t>(rint(t)) + q.zero_point);
}

}  // namespace bitbert::scalar
