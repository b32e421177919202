// The reference for softmax_quantize.
#include <limits>

#include "kernels/rowops/functions_scalar.h"
#include "kernels/rowops/reductions_scalar.h"
#include "kernels/rowops/rowops.h"

namespace bitbert::scalar {

void softmax_quantize(float* scores, int n, const Quantizer& quantizer, uint8_t* out) {
  float top = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < n; ++i) top = scores[i] > top ? scores[i] : top;
  for (int i = 0; i < n; ++i) scores[i] = exp(scores[i] - top);
  const float sum = reduce(n, [&](float lane, int i) { return lane + (i < n ? scores[i] : 0.0f); });
  Quantizer normalized = quantizer;  // one factor divides by the sum and by the scale
  normalized.inverse_scale = quantizer.inverse_scale / sum;
  for (int i = 0; i < n; ++i) out[i] = quantize_one(scores[i], normalized);
}

}  // namespace bitbert::scalar
