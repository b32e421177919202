#include "model/heads.h"

#include <algorithm>
#include <vector>

#include "model/codes.h"
#include "model/record.h"

namespace bitbert {
namespace {

void pool(const Pass& pass, float* out) {
  const Weights& w = pass.weights;
  const int width = w.config.hidden_size;
  const int64_t rows = pass.batch.sequences();
  std::vector<float> first(rows * width);
  for (int64_t b = 0; b < rows; ++b) {
    std::copy_n(pass.workspace.hidden + pass.batch.offsets[b] * width, width, &first[b * width]);
  }
  const CodeRows& codes = pass.workspace.query;  // free by now, and has a row for every token
  quantize_rows(pass.kernels, w.pooler_input, first.data(), width, rows, width, codes);
  const GemmInput input = codes.input(static_cast<int>(rows));
  const GemmOutput output = {GemmOutputKind::kFloats, out, width, {}};
  std::byte* scratch = pass.workspace.threads[0].scratch;
  w.pooler.run(pass.kernels, input, output, scratch);
  if (pass.trace) {
    record_codes(*pass.trace, w.pooler_input, first.data(), width, rows, width, codes, nullptr);
    record_linear(*pass.trace, pass.kernels, w.pooler, input, output, nullptr, scratch);
  }
  for (int64_t b = 0; b < rows; ++b, out += width) pass.kernels.apply(Function::kTanh, out, width, out);
}

void mean(const Pass& pass, float* out) {
  const int width = pass.weights.config.hidden_size;
  for (int64_t b = 0; b < pass.batch.sequences(); ++b, out += width) {
    const float* row = pass.workspace.hidden + pass.batch.offsets[b] * width;
    std::copy_n(row, width, out);
    const int length = pass.batch.length(b);
    for (int t = 1; t < length; ++t) {
      row += width;
      for (int i = 0; i < width; ++i) out[i] += row[i];
    }
    for (int i = 0; i < width; ++i) out[i] /= static_cast<float>(length);
  }
}

void logits(const Pass& pass, const float* rows, int64_t count, float* out) {
  const Weights& w = pass.weights;
  const int labels = w.config.num_labels, width = w.config.hidden_size;
  for (int64_t row = 0; row < count; ++row) {
    for (int j = 0; j < labels; ++j) {
      const float* weight = &w.head_weight[int64_t{j} * width];
      out[row * labels + j] = pass.kernels.dot(rows + row * width, weight, width) + w.head_bias[j];
    }
  }
}

}  // namespace

void finish(const Pass& pass, Output output, float* out) {
  const Timer timer(pass.profile, Operation::kHead);
  const int64_t tokens = pass.batch.tokens(), width = pass.weights.config.hidden_size;
  switch (output) {
    case Output::kHidden:
      std::copy_n(pass.workspace.hidden, tokens * width, out);
      return;
    case Output::kPooled:
      return pool(pass, out);
    case Output::kMean:
      return mean(pass, out);
    case Output::kLogits:
      if (pass.weights.config.head == Head::kToken) return logits(pass, pass.workspace.hidden, tokens, out);
      std::vector<float> pooled(pass.batch.sequences() * width);
      pool(pass, pooled.data());
      return logits(pass, pooled.data(), pass.batch.sequences(), out);
  }
}

}  // namespace bitbert
