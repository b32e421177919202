// The loops behind kernels.h, compiled once per instruction set: the compiler vectorizes them, there is nothing to
// write by hand. The including file opens the namespace, so that no two translation units share code built with
// different flags.
//
// Inputs and outputs never overlap, which `ivdep` tells the compiler. Sums run in 16 lanes, so that they do not depend
// on the width of the vectors.

constexpr std::size_t kLanes = 16;

inline float widen(bfloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// Exact for the integers that codes are, and for what came from a bfloat16; no rounding is needed.
inline bfloat16 narrow(float exact) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &exact, sizeof(bits));
  return static_cast<bfloat16>(bits >> 16);
}

// To the nearest bfloat16, ties to even, for finite values.
inline bfloat16 round_to_bfloat16(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return static_cast<bfloat16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Sum of term(i) for i < n, in lanes. Terms of a tile are computed first and added afterwards, which lets the compiler
// vectorize both loops: a sum within the first would have to keep its order.
template <typename Term>
inline float sum_in_lanes(std::size_t n, const Term& term) {
  constexpr std::size_t kTile = 8 * kLanes;
  float lanes[kLanes] = {}, terms[kTile];
  for (std::size_t start = 0; start < n; start += kTile) {
    const std::size_t size = n - start < kTile ? n - start : kTile;
#pragma GCC ivdep
    for (std::size_t i = 0; i < size; ++i) terms[i] = term(start + i);
    for (std::size_t i = size; i < kTile; ++i) terms[i] = 0;
    for (std::size_t i = 0; i < kTile; i += kLanes)
      for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += terms[i + l];
  }
  for (std::size_t width = kLanes / 2; width > 0; width /= 2)
    for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return lanes[0];
}

inline float nearest(float t, const Grid& grid) {
  t = t > grid.low ? t : grid.low;
  t = t < grid.high ? t : grid.high;
  return __builtin_rintf(t);
}

void quantize(const float* x, Grid grid, bfloat16* codes, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = narrow(nearest(x[i] * grid.inverse_scale, grid));
}

// The gradient of x and the term of the gradient of the scale, for one element.
struct Backward {
  float grad_x, grad_scale;
};

inline Backward backward_one(float x, float grad, const Grid& grid, bool clip) {
  const float t = x * grid.inverse_scale;
  const bool inside = (t >= grid.low) & (t <= grid.high);
  return {inside | !clip ? grad : 0.0f, grad * (nearest(t, grid) - (inside ? t : 0.0f))};
}

float quantize_backward(const float* x, const bfloat16* grad, Grid grid, bool clip, float* grad_x, std::size_t n) {
  return sum_in_lanes(n, [=](std::size_t i) {
    const Backward backward = backward_one(x[i], widen(grad[i]), grid, clip);
    grad_x[i] = backward.grad_x;
    return backward.grad_scale;
  });
}

void scale_and_shift(const bfloat16* sums, const float* scale, const float* bias, float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = widen(sums[i]) * scale[i] + bias[i];
}

void shift_and_quantize(const bfloat16* sums, const float* scale, const float* bias, Grid grid, bfloat16* codes,
                        std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    codes[i] = narrow(nearest((widen(sums[i]) * scale[i] + bias[i]) * grid.inverse_scale, grid));
}

float shift_and_quantize_backward(const bfloat16* sums, const float* scale, const float* bias, const bfloat16* grad,
                                  Grid grid, bool clip, bfloat16* grad_y, float* grad_bias, std::size_t n) {
  return sum_in_lanes(n, [=](std::size_t i) {
    const Backward backward = backward_one(widen(sums[i]) * scale[i] + bias[i], widen(grad[i]), grid, clip);
    grad_y[i] = narrow(backward.grad_x);
    grad_bias[i] += backward.grad_x;
    return backward.grad_scale;
  });
}

void look_up(const bfloat16* codes, const float* table, float first, bfloat16* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = narrow(table[static_cast<int>(widen(codes[i]) - first)]);
}

float look_up_backward(const bfloat16* codes, const bfloat16* grad, const float* slope, const float* error, float first,
                       bfloat16* grad_in, std::size_t n) {
  return sum_in_lanes(n, [=](std::size_t i) {
    const int entry = static_cast<int>(widen(codes[i]) - first);
    const float g = widen(grad[i]);
    grad_in[i] = round_to_bfloat16(g * slope[entry]);
    return g * error[entry];
  });
}

const Kernels table{quantize, quantize_backward, scale_and_shift, shift_and_quantize, shift_and_quantize_backward,
                    look_up,  look_up_backward};
