// Attention of one head over one sequence: scores, probabilities, context, all from codes. docs/numerics.md, steps 3
// to 5.
#pragma once

#include "kernels/kernels.h"
#include "model/trace.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace bitbert {

// The part of each tensor that belongs to one sequence, all heads.
struct AttentionSequence {
  CodeRows query;
  const int8_t* key;
  const int8_t* value;
  int64_t stride;  // of key and value
  int length;
};

// Computes head `head` and writes its columns of values to `context`, whose rows are `context.stride` elements apart.
// `trace` may be null; else it collects scores and probabilities.
void attend(const Kernels& kernels, const EncoderLayer& layer, int head_dim, int head,
            const AttentionSequence& sequence, const ThreadMemory& memory, const GemmOutput& context, Trace* trace);

}  // namespace bitbert
