// The whole encoder, from token ids to logits: docs/numerics.md, "From token ids to logits". Built once; forward passes
// may run from several threads at once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "model/trace.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace bitbert {

enum class Output {
  kHidden,  // [tokens][hidden]
  kPooled,  // [sequences][hidden], after tanh
  kMean,    // [sequences][hidden], mean over tokens
  kLogits,  // [sequences][labels], or [tokens][labels] of a token head
};

// Sequences one after the other, without padding: sequence b is tokens offsets[b] .. offsets[b + 1] - 1.
struct Batch {
  std::span<const int32_t> ids;
  std::span<const int32_t> token_types;
  std::span<const int64_t> offsets;

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int length(int64_t sequence) const { return static_cast<int>(offsets[sequence + 1] - offsets[sequence]); }
};

class Encoder {
 public:
  // Throws std::invalid_argument (see build_weights) and InstructionSetUnavailable.
  Encoder(const EncoderSource& source, const std::string& isa);

  int output_columns(Output output) const;

  // Rows of output_columns floats. Throws std::invalid_argument on ids, types or lengths out of range, or an output
  // that this model has not.
  std::vector<float> forward(const Batch& batch, Output output, int threads);

  // One sequence with every intermediate recorded. The names are documented in _native.pyi.
  Trace trace(std::span<const int32_t> ids, std::span<const int32_t> token_types);

  const char* isa() const { return kernels_.isa; }
  size_t weight_bytes() const { return weights_.bytes; }

 private:
  void check(const Batch& batch, Output output, int threads) const;
  WorkspaceShape shape(const Batch& batch, int threads) const;
  int64_t output_rows(const Batch& batch, Output output) const;
  std::vector<float> run(const Batch& batch, Output output, int threads, Trace* trace);

  const Kernels& kernels_;
  Weights weights_;
  WorkspacePool workspaces_;
};

}  // namespace bitbert
