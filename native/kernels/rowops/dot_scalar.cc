// The reference for dot.
#include "kernels/rowops/reductions_scalar.h"
#include "kernels/rowops/rowops.h"
#include "kernels/rowops/scalar_math.h"

namespace bitbert::scalar {

float dot(const float* x, const float* y, int n) {
  return reduce(n, [&](float lane, int i) { return i < n ? fma(x[i], y[i], lane) : fma(0, 0, lane); });
}

}  // namespace bitbert::scalar
