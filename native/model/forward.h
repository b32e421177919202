// One forward pass: which operation follows which, on whose rows. Linear layers go block of tokens by block, attention
// head by head; the two alternate, and that is where threads meet.
#pragma once

#include "model/encoder.h"

namespace bitbert {

class Forward {
 public:
  // `trace` may be null; else the pass is of one block and one thread.
  Forward(const Weights& weights, const Kernels& kernels, const Batch& batch, const WorkspaceShape& shape,
          Workspace& workspace, Trace* trace);

  void run(Output output, float* out);

 private:
  struct Block {
    int64_t first;
    int rows;
    const ThreadMemory& memory;
  };

  template <class Body>
  void for_each_block(Body body);

  // Steps of a block of tokens.
  void embed(const Block& block);
  void project(const EncoderLayer& layer, const Block& block);
  void finish_attention(const EncoderLayer& layer, const Block& block);
  void feed_forward(const EncoderLayer& layer, const Block& block);
  void activate(const EncoderLayer& layer, const Block& block);
  void intermediate_codes(const EncoderLayer& layer, const Block& block);
  void activation_values(const EncoderLayer& layer, const Block& block);

  void attend(const EncoderLayer& layer);
  void pool(float* out);
  void mean(float* out);
  void logits(const float* rows, int64_t count, float* out);

  // Parts of the steps.
  void linear(const Linear& linear, const GemmInput& input, const GemmOutput& output, int8_t* scratch,
              const Activation* quantized = nullptr);
  void quantize(const Activation& activation, const float* x, int64_t rows, int columns, const CodeRows& out);
  void add_and_normalize(const float* x, const LayerNorm& norm, const Block& block);
  void trace_hidden(const std::string& name);

  float* hidden(const Block& block) const { return workspace_.hidden + block.first * width_; }

  const Weights& weights_;
  const Kernels& kernels_;
  const Batch& batch_;
  const WorkspaceShape& shape_;
  Workspace& workspace_;
  Trace* trace_;
  const int width_;  // hidden size
};

}  // namespace bitbert
