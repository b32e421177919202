// Loops of the vector kernels. Include after lanes/<isa>.h.
#pragma once

namespace bitbert {
namespace {

BITBERT_INLINE int least(int a, int b) { return a < b ? a : b; }
BITBERT_INLINE int most(int a, int b) { return a > b ? a : b; }

// Runs body(i, count) over n elements sixteen at a time, the last step with what is left.
template <class Body>
BITBERT_INLINE void for_lanes(int n, Body body) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, kLanes);
  if (i < n) body(i, n - i);
}

template <int kIndex>
struct Constant {
  static constexpr int value = kIndex;
};

// body(Constant<0>), .. body(Constant<kCount - 1>): indices that are constants before the optimizer starts, which is
// what keeps an array of sums in registers.
template <int kCount, class Body>
BITBERT_INLINE void unroll(const Body& body) {
  if constexpr (kCount > 0) {
    unroll<kCount - 1>(body);
    body(Constant<kCount - 1>{});
  }
}

}  // namespace
}  // namespace bitbert
