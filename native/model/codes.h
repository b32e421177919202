// Rows of floats to rows of codes.
#pragma once

#include "kernels/kernels.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace bitbert {

// Sets what belongs to `count` rows of static codes beside the codes: scale, zero point, and zeros from the last column
// to the end of the block, as gemm wants them.
void complete(const CodeRows& rows, int64_t count, int columns, const Quantizer& quantizer);

// Codes of `count` rows of `columns` floats, which lie `stride` apart; complete.
void quantize_rows(const Kernels& kernels, const Activation& activation, const float* x, int64_t stride, int64_t count,
                   int columns, const CodeRows& out);

}  // namespace bitbert
