// What follows the last layer: pooler, mean over tokens, logits.
#pragma once

#include <cstdint>

#include "model/forward.h"

namespace bitbert {

enum class Output {
  kHidden,  // [tokens][hidden]
  kPooled,  // [sequences][hidden], after tanh
  kMean,    // [sequences][hidden], mean over tokens
  kLogits,  // [sequences][labels], or [tokens][labels] of a token head
};

// Writes the output of a pass that is through its layers.
void finish(const Pass& pass, Output output, float* out);

}  // namespace bitbert
