// The whole encoder, from token ids to logits: docs/numerics.md, "From token ids to logits". Built once; forward passes
// may run from several threads at once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "model/batch.h"
#include "model/heads.h"
#include "model/profile.h"
#include "model/trace.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace bitbert {

class Encoder {
 public:
  // Throws std::invalid_argument (see build_weights) and InstructionSetUnavailable.
  Encoder(const EncoderSource& source, const std::string& isa);

  int output_columns(Output output) const;

  // Rows of output_columns floats. Throws std::invalid_argument on ids, types or lengths out of range, or an output
  // that this model has not.
  std::vector<float> forward(const Batch& batch, Output output, int threads, Profile* profile = nullptr);

  // One sequence with every intermediate recorded. The names are documented in _native.pyi.
  Trace trace(std::span<const int32_t> ids, std::span<const int32_t> token_types);

  const char* isa() const { return kernels_.isa; }
  size_t weight_bytes() const { return weights_.bytes; }

 private:
  void check(const Batch& batch, Output output, int threads) const;
  WorkspaceShape shape(const Batch& batch, int threads) const;
  int64_t output_rows(const Batch& batch, Output output) const;
  std::vector<float> run(const Batch& batch, Output output, const WorkspaceShape& shape, Trace* trace,
                         Profile* profile);

  const Kernels& kernels_;
  Weights weights_;
  WorkspacePool workspaces_;
};

}  // namespace bitbert
