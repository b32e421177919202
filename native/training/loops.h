// The loops behind kernels.h, compiled once per instruction set: the compiler vectorizes them, there is nothing to
// write by hand. The including file opens the namespace, so that no two translation units share code built with
// different flags.
//
// Sums run in 16 lanes, so that they do not depend on the width of the vectors.

constexpr std::size_t kLanes = 16;

inline float widen(bfloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// Exact for the integers that codes are; no rounding is needed.
inline bfloat16 narrow(float integer) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &integer, sizeof(bits));
  return static_cast<bfloat16>(bits >> 16);
}

inline float nearest(float t, const Grid& grid) {
  t = t > grid.low ? t : grid.low;
  t = t < grid.high ? t : grid.high;
  return __builtin_rintf(t);
}

void quantize(const float* x, Grid grid, bfloat16* codes, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = narrow(nearest(x[i] * grid.inverse_scale, grid));
}

// One element: writes the gradient of x, returns the term of the gradient of the scale.
inline float backward_one(float x, float grad, const Grid& grid, bool clip, float* grad_x) {
  const float t = x * grid.inverse_scale;
  const bool inside = t >= grid.low && t <= grid.high;
  *grad_x = inside || !clip ? grad : 0.0f;
  return grad * (nearest(t, grid) - (inside ? t : 0.0f));
}

float quantize_backward(const float* x, const bfloat16* grad, Grid grid, bool clip, float* grad_x, std::size_t n) {
  float lanes[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::size_t l = 0; l < kLanes; ++l)
      lanes[l] += backward_one(x[i + l], widen(grad[i + l]), grid, clip, grad_x + i + l);
  for (std::size_t l = 0; i < n; ++i, ++l) lanes[l] += backward_one(x[i], widen(grad[i]), grid, clip, grad_x + i);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2)
    for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return lanes[0];
}

void scale_and_shift(const bfloat16* sums, const float* scale, const float* bias, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = widen(sums[i]) * scale[i] + bias[i];
}

const Kernels table{quantize, quantize_backward, scale_and_shift};
