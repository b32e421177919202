// The reference for apply.
#include "kernels/rowops/functions_scalar.h"
#include "kernels/rowops/rowops.h"

namespace bitbert::scalar {
namespace {

template <class F>
void map(const float* x, int n, float* out, F function) {
  for (int i = 0; i < n; ++i) out[i] = function(x[i]);
}

}  // namespace

void apply(Function function, const float* x, int n, float* out) {
  switch (function) {
    case Function::kExp:
      return map(x, n, out, exp);
    case Function::kErf:
      return map(x, n, out, erf);
    case Function::kTanh:
      return map(x, n, out, tanh);
    case Function::kGelu:
      return map(x, n, out, gelu);
    case Function::kGeluTanh:
      return map(x, n, out, gelu_tanh);
    case Function::kRelu:
      return map(x, n, out, relu);
  }
}

}  // namespace bitbert::scalar
