// What a linear layer and its quantizers leave in a trace.
#pragma once

#include "model/linear.h"
#include "model/trace.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace bitbert {

// Sums, and if the output is quantized, values and codes. The product is computed again, stopped earlier.
void record_linear(Trace& trace, const Kernels& kernels, const Linear& linear, const GemmInput& input,
                   const GemmOutput& output, const Activation* quantized, std::byte* scratch);

// Values, `stride` apart, and the codes that came of them. `source` is the layer whose outputs they are, if pruned ones
// may be missing.
void record_codes(Trace& trace, const Activation& activation, const float* x, int64_t stride, int64_t count,
                  int columns, const CodeRows& codes, const Linear* source);

}  // namespace bitbert
