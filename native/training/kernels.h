// Element-wise passes of the fake-quantized training graph, each fused into one sweep over memory. Training on a CPU is
// bound by such sweeps: done with tensor operations, the backward pass of one quantizer reads and writes its tensor
// about ten times.
//
// Not part of the engine; a rounding here is that of docs/numerics.md ("Quantize"), so codes are the engine's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitbert::training {

using bfloat16 = std::uint16_t;  // the upper half of a float; codes up to 8 bits are exact in it

// The integers low..high with the reciprocal of the step between them.
struct Grid {
  float inverse_scale, low, high;
};

struct Kernels {
  // codes = rint(clamp(x / scale)).
  void (*quantize)(const float* x, Grid grid, bfloat16* codes, std::size_t n);

  // With t = x / scale and c its code: grad_x = grad where low <= t <= high, else 0 (or grad, unless clip).
  // Returns sum grad * (c - t) on the grid plus grad * c beyond it: the gradient of the scale (LSQ, equation 3).
  float (*quantize_backward)(const float* x, const bfloat16* grad, Grid grid, bool clip, float* grad_x, std::size_t n);

  // y = sums * scale + bias, column by column: one row of a linear layer.
  void (*scale_and_shift)(const bfloat16* sums, const float* scale, const float* bias, float* y, std::size_t n);

  // quantize(scale_and_shift(sums)) without y in between.
  void (*shift_and_quantize)(const bfloat16* sums, const float* scale, const float* bias, Grid grid, bfloat16* codes,
                             std::size_t n);

  // quantize_backward for it, with y computed anew; adds grad_y to grad_bias, column by column.
  float (*shift_and_quantize_backward)(const bfloat16* sums, const float* scale, const float* bias,
                                       const bfloat16* grad, Grid grid, bool clip, bfloat16* grad_y, float* grad_bias,
                                       std::size_t n);

  // out = table[code - first]: a function of codes that was computed once for each of them.
  void (*look_up)(const bfloat16* codes, const float* table, float first, bfloat16* out, std::size_t n);

  // grad_in = grad * slope[code - first]; returns sum grad * error[code - first].
  float (*look_up_backward)(const bfloat16* codes, const bfloat16* grad, const float* slope, const float* error,
                            float first, bfloat16* grad_in, std::size_t n);
};

// The best that this CPU can run.
const Kernels& kernels();

namespace scalar {
extern const Kernels table;
}
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}

}  // namespace bitbert::training
