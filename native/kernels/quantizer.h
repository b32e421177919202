// How floats become byte codes: plain numbers, shared by all kernels. What the fields mean and in which order they are
// used is docs/numerics.md, "Quantize".
#pragma once

#include <cstdint>

namespace bitbert {

struct Quantizer {
  float scale = 1;
  float inverse_scale = 1;  // f32(1 / scale)
  float low = 0;            // smallest code less zero point, as a float
  float high = 0;           // largest code less zero point
  int32_t zero_point = 0;
  bool sign = false;  // the 1-bit grid {-1, 1}: only the sign counts
};

// Codes low..high with the given step (2 on the 1-bit grid {-1, 1}, else 1). Static, so that each instruction set has
// its own copy: one that was compiled for a newer CPU must not be linked into the others.
static inline Quantizer make_quantizer(float scale, int zero_point, int low, int high, int step) {
  return {scale,      1.0f / scale, static_cast<float>(low - zero_point), static_cast<float>(high - zero_point),
          zero_point, step == 2};
}

}  // namespace bitbert
