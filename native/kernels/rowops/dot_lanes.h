// dot, sixteen at a time. Include after lanes/<isa>.h.
#pragma once

#include "kernels/lanes/loop.h"
#include "kernels/rowops/rowops.h"

namespace bitbert {
namespace {

BITBERT_INLINE float dot_lanes(const float* x, const float* y, int n) {
  Lanes total = splat(0.0f);
  for_lanes(n, [&](int i, int count) { total = fma(load(x + i, count), load(y + i, count), total); });
  return sum(total);
}

}  // namespace
}  // namespace bitbert
