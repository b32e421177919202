// The reference for layer_norm.
#include <cmath>

#include "kernels/rowops/reductions_scalar.h"
#include "kernels/rowops/rowops.h"
#include "kernels/rowops/scalar_math.h"

namespace bitbert::scalar {

void layer_norm(const float* x, const float* residual, int n, const LayerNormParameters& parameters, float* out,
                const Quantizer* quantizer, uint8_t* codes) {
  const auto h = [&](int i) { return residual ? x[i] + residual[i] : x[i]; };
  const float count = static_cast<float>(n);
  const float mean = reduce(n, [&](float lane, int i) { return lane + (i < n ? h(i) : 0.0f); }) / count;
  const auto square = [&](float lane, int i) {
    const float d = i < n ? h(i) - mean : 0.0f;
    return fma(d, d, lane);
  };
  const float variance = reduce(n, square) / count;
  const float rstd = 1.0f / std::sqrt(variance + parameters.eps);
  for (int i = 0; i < n; ++i) out[i] = fma((h(i) - mean) * rstd, parameters.gamma[i], parameters.beta[i]);
  if (quantizer) quantize(out, n, *quantizer, codes);
}

}  // namespace bitbert::scalar
