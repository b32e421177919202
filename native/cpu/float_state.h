// The rounding and subnormal mode of the thread that computes. Results must not depend on what else the process does.
#pragma once

#include <cstdint>

namespace bitbert {

// Round to nearest, subnormals kept, exceptions masked, while it lives; then what was before.
class FloatState {
 public:
  FloatState();
  ~FloatState();
  FloatState(const FloatState&) = delete;
  FloatState& operator=(const FloatState&) = delete;

 private:
  uint32_t saved_ = 0;
};

}  // namespace bitbert
