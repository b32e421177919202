// exp, erf, tanh and the activations of docs/numerics.md, "Functions", sixteen at a time. Include after lanes/<isa>.h.
#pragma once

#include "kernels/lanes/loop.h"
#include "kernels/rowops/functions.h"
#include "kernels/rowops/rowops.h"

namespace bitbert {
namespace {

BITBERT_INLINE Lanes horner(const float (&c)[functions::kDegree + 1], Lanes x) {
  Lanes p = splat(c[functions::kDegree]);
#pragma GCC unroll 8
  for (int i = functions::kDegree - 1; i >= 0; --i) p = fma(p, x, splat(c[i]));
  return p;
}

BITBERT_INLINE Lanes magnitude(Lanes x) { return copy_sign(x, splat(0.0f)); }

BITBERT_INLINE Lanes exp(Lanes x) {
  x = max(x, splat(functions::kExpMin));
  const Lanes k = rint(x * splat(functions::kLog2e));
  const Lanes r = fma(k, splat(-functions::kLn2Lo), fma(k, splat(-functions::kLn2Hi), x));
  return add_exponent(horner(functions::kExp, r), k);
}

BITBERT_INLINE Lanes erf(Lanes x) {
  const Lanes a = magnitude(x);
  const Lanes small = fma(a, horner(functions::kErfSmall, a * a), a);
  const Lanes q = horner(functions::kErfLarge, min(a, splat(functions::kErfMax)));
  const Lanes large = splat(1.0f) - exp(splat(-0.0f) - q);
  return copy_sign(select_less(a, splat(1.0f), small, large), x);
}

BITBERT_INLINE Lanes tanh(Lanes x) {
  const Lanes t = exp(splat(-2.0f) * magnitude(x));
  return copy_sign((splat(1.0f) - t) / (splat(1.0f) + t), x);
}

BITBERT_INLINE Lanes gelu(Lanes x) { return (splat(0.5f) * x) * (splat(1.0f) + erf(x * splat(functions::kSqrtHalf))); }

BITBERT_INLINE Lanes gelu_tanh(Lanes x) {
  const Lanes inner = fma(splat(functions::kGeluTanhCubic) * x, x * x, x);
  return (splat(0.5f) * x) * (splat(1.0f) + tanh(splat(functions::kSqrt2OverPi) * inner));
}

BITBERT_INLINE Lanes relu(Lanes x) { return max(x, splat(0.0f)); }

template <class F>
BITBERT_INLINE void map(const float* x, int n, float* out, F function) {
  for_lanes(n, [&](int i, int count) { store(out + i, function(load(x + i, count)), count); });
}

BITBERT_INLINE void apply_lanes(Function function, const float* x, int n, float* out) {
  switch (function) {
    case Function::kExp:
      return map(x, n, out, [](Lanes v) { return exp(v); });
    case Function::kErf:
      return map(x, n, out, [](Lanes v) { return erf(v); });
    case Function::kTanh:
      return map(x, n, out, [](Lanes v) { return tanh(v); });
    case Function::kGelu:
      return map(x, n, out, [](Lanes v) { return gelu(v); });
    case Function::kGeluTanh:
      return map(x, n, out, [](Lanes v) { return gelu_tanh(v); });
    case Function::kRelu:
      return map(x, n, out, [](Lanes v) { return relu(v); });
  }
}

}  // namespace
}  // namespace bitbert
