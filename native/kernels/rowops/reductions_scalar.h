// Sums of n floats by 16 lanes and one tree, as docs/numerics.md orders them ("Reductions"). For the scalar kernels
// only.
#pragma once

namespace bitbert::scalar {

inline constexpr int kLanes = 16;

// Adds the lanes up: l += l + 8, then + 4, + 2, + 1.
inline float add_lanes(float (&lanes)[kLanes]) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

// Runs `step(lane, i)` for i = 0 .. n - 1 rounded up to whole lanes; `step` sees i >= n and must add +0 there.
template <class Step>
float reduce(int n, Step step) {
  float lanes[kLanes] = {};
  for (int i = 0; i < (n + kLanes - 1) / kLanes * kLanes; ++i) lanes[i % kLanes] = step(lanes[i % kLanes], i);
  return add_lanes(lanes);
}

}  // namespace bitbert::scalar
