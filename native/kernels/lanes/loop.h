// Runs over n elements sixteen at a time, the last step with what is left. Include after lanes/<isa>.h.
#pragma once

namespace bitbert {
namespace {

template <class Body>
BITBERT_INLINE void for_lanes(int n, Body body) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, kLanes);
  if (i < n) body(i, n - i);
}

}  // namespace
}  // namespace bitbert
