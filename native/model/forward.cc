#include "model/forward.h"

#include <algorithm>

#include "model/attention.h"

namespace bitbert {
namespace {

GemmOutput floats(float* out, int64_t stride) { return {GemmOutputKind::kFloats, out, stride, {}}; }

GemmOutput codes(void* out, int64_t stride, const Activation& activation) {
  return {GemmOutputKind::kCodes, out, stride, activation.quantizer};
}

void set_scale(const CodeRows& rows, int64_t count, const Quantizer& quantizer) {
  std::fill_n(rows.scale, count, quantizer.scale);
  std::fill_n(rows.zero_point, count, quantizer.zero_point);
}

}  // namespace

Forward::Forward(const Weights& weights, const Kernels& kernels, const Batch& batch, const WorkspaceShape& shape,
                 Workspace& workspace, Trace* trace)
    : weights_(weights),
      kernels_(kernels),
      batch_(batch),
      shape_(shape),
      workspace_(workspace),
      trace_(trace),
      width_(weights.config.hidden_size) {}

void Forward::run(Output output, float* out) {
  const std::vector<EncoderLayer>& layers = weights_.layers;
  for_each_block([&](const Block& block) {
    embed(block);
    if (trace_) trace_hidden("embeddings");
    project(layers[0], block);
  });
  for (size_t i = 0; i < layers.size(); ++i) {
    attend(layers[i]);
    for_each_block([&](const Block& block) {
      finish_attention(layers[i], block);
      feed_forward(layers[i], block);
      if (i + 1 < layers.size()) project(layers[i + 1], block);
    });
    if (trace_) trace_hidden("encoder.layer." + std::to_string(i));
  }
  switch (output) {
    case Output::kHidden:
      std::copy_n(workspace_.hidden, batch_.tokens() * width_, out);
      return;
    case Output::kPooled:
      return pool(out);
    case Output::kMean:
      return mean(out);
    case Output::kLogits:
      if (weights_.config.head == Head::kToken) return logits(workspace_.hidden, batch_.tokens(), out);
      std::vector<float> pooled(batch_.sequences() * width_);
      pool(pooled.data());
      return logits(pooled.data(), batch_.sequences(), out);
  }
}

template <class Body>
void Forward::for_each_block(Body body) {
  const int64_t tokens = batch_.tokens(), rows = shape_.block_rows;
  workspace_.team->run((tokens + rows - 1) / rows, [&](int64_t task, int thread) {
    const int64_t first = task * rows;
    body(Block{first, static_cast<int>(std::min(rows, tokens - first)), workspace_.threads[thread]});
  });
}

void Forward::embed(const Block& block) {
  const auto starts = batch_.offsets.begin();
  int64_t sequence = std::upper_bound(starts, batch_.offsets.end(), block.first) - starts - 1;
  int8_t* word = block.memory.codes;
  int8_t* type = word + width_;
  int8_t* place = type + width_;
  for (int64_t t = block.first; t < block.first + block.rows; ++t) {
    while (t >= batch_.offsets[sequence + 1]) ++sequence;
    const int position = static_cast<int>(t - batch_.offsets[sequence]);
    float* row = workspace_.hidden + t * width_;
    kernels_.embed(weights_.word.look_up(batch_.ids[t], word), weights_.token_type.look_up(batch_.token_types[t], type),
                   weights_.position.look_up(position, place), width_, row);
    kernels_.layer_norm(row, nullptr, width_, weights_.embedding_norm.parameters(), row);
  }
}

void Forward::project(const EncoderLayer& layer, const Block& block) {
  const ThreadMemory& m = block.memory;
  quantize(layer.input, hidden(block), block.rows, width_, m.input);
  const GemmInput input = m.input.input(block.rows);
  const CodeRows query = workspace_.query.from(block.first);
  const int64_t offset = block.first * width_;
  linear(layer.query, input, codes(query.codes, query.stride, layer.query_output), m.panels, &layer.query_output);
  linear(layer.key, input, codes(workspace_.key + offset, width_, layer.key_output), m.panels, &layer.key_output);
  linear(layer.value, input, codes(workspace_.value + offset, width_, layer.value_output), m.panels,
         &layer.value_output);
  set_scale(query, block.rows, layer.query_output.quantizer);
}

void Forward::attend(const EncoderLayer& layer) {
  const EncoderConfig& c = weights_.config;
  const int heads = c.num_attention_heads;
  const Activation& out = layer.attention_output_input;
  workspace_.team->run(batch_.sequences() * heads, [&](int64_t task, int thread) {
    const int64_t sequence = task / heads, first = batch_.offsets[sequence];
    const int head = static_cast<int>(task % heads), column = head * c.head_dim();
    const CodeRows rows = workspace_.context.from(first);
    const int64_t offset = first * width_;
    const AttentionSequence s = {workspace_.query.from(first), workspace_.key + offset, workspace_.value + offset,
                                 width_, batch_.length(sequence)};
    const bool as_codes = out.is_static() && !trace_;
    bitbert::attend(kernels_, layer, c.head_dim(), head, s, workspace_.threads[thread],
                    as_codes ? codes(rows.codes + column, rows.stride, out)
                             : floats(workspace_.context_values + offset + column, width_),
                    trace_);
  });
}

void Forward::finish_attention(const EncoderLayer& layer, const Block& block) {
  const Activation& activation = layer.attention_output_input;
  const CodeRows rows = workspace_.context.from(block.first);
  if (activation.is_static() && !trace_) {
    set_scale(rows, block.rows, activation.quantizer);
  } else {
    quantize(activation, workspace_.context_values + block.first * width_, block.rows, width_, rows);
  }
  const ThreadMemory& m = block.memory;
  linear(layer.attention_output, rows.input(block.rows), floats(m.floats, width_), m.panels);
  add_and_normalize(m.floats, layer.attention_norm, block);
}

void Forward::feed_forward(const EncoderLayer& layer, const Block& block) {
  const ThreadMemory& m = block.memory;
  quantize(layer.intermediate_input, hidden(block), block.rows, width_, m.input);
  activate(layer, block);
  linear(layer.output, m.inner.input(block.rows), floats(m.floats, width_), m.panels);
  add_and_normalize(m.floats, layer.output_norm, block);
}

void Forward::activate(const EncoderLayer& layer, const Block& block) {
  const CodeRows& inner = block.memory.inner;
  if (layer.gelu_input.is_static() && layer.output_input.is_static() && !trace_) {
    intermediate_codes(layer, block);
    const int n = weights_.config.intermediate_size;
    const std::array<uint8_t, 256>& table = layer.gelu_table.codes;
    for (int r = 0; r < block.rows; ++r) {
      uint8_t* row = inner.codes + r * inner.stride;
      for (int i = 0; i < n; ++i) row[i] = table[row[i]];
    }
    return set_scale(inner, block.rows, layer.output_input.quantizer);
  }
  activation_values(layer, block);
  quantize(layer.output_input, block.memory.wide, block.rows, weights_.config.intermediate_size, inner);
}

void Forward::intermediate_codes(const EncoderLayer& layer, const Block& block) {
  const ThreadMemory& m = block.memory;
  const GemmOutput output = codes(m.inner.codes, m.inner.stride, layer.gelu_input);
  linear(layer.intermediate, m.input.input(block.rows), output, m.panels, &layer.gelu_input);
}

void Forward::activation_values(const EncoderLayer& layer, const Block& block) {
  const ThreadMemory& m = block.memory;
  const int n = weights_.config.intermediate_size;
  if (!layer.gelu_input.is_static()) {
    linear(layer.intermediate, m.input.input(block.rows), floats(m.wide, n), m.panels, &layer.gelu_input);
    for (int r = 0; r < block.rows; ++r) {
      float* row = m.wide + int64_t{r} * n;
      kernels_.apply(weights_.hidden_act, row, n, row);
    }
    return;
  }
  intermediate_codes(layer, block);
  for (int r = 0; r < block.rows; ++r) {
    const uint8_t* row = m.inner.codes + r * m.inner.stride;
    for (int i = 0; i < n; ++i) m.wide[int64_t{r} * n + i] = layer.gelu_table.values[row[i]];
  }
}

void Forward::linear(const Linear& linear, const GemmInput& input, const GemmOutput& output, int8_t* scratch,
                     const Activation* quantized) {
  linear.run(kernels_, input, output, scratch);
  if (!trace_) return;
  // The same product once more, stopped earlier.
  const int n = linear.rows();
  std::vector<int32_t> sums(int64_t{input.rows} * n);
  linear.run(kernels_, input, {GemmOutputKind::kSums, sums.data(), n, {}}, scratch);
  record(*trace_, linear.name() + ".acc", sums.data(), input.rows, n, n);
  if (!quantized) return;
  std::vector<float> values(int64_t{input.rows} * n);
  linear.run(kernels_, input, floats(values.data(), n), scratch);
  record(*trace_, quantized->name + ".value", values.data(), input.rows, n, n);
  if (output.kind != GemmOutputKind::kCodes) return;
  const auto* bytes = static_cast<const uint8_t*>(output.data);
  if (const Quantizer& q = output.quantizer; q.low + static_cast<float>(q.zero_point) < 0) {
    record(*trace_, quantized->name, reinterpret_cast<const int8_t*>(bytes), input.rows, n, output.stride);
  } else {
    record(*trace_, quantized->name, bytes, input.rows, n, output.stride);
  }
}

void Forward::quantize(const Activation& activation, const float* x, int64_t rows, int columns, const CodeRows& out) {
  const bool symmetric = activation.kind == ActivationKind::kPerTokenSymmetric;
  for (int64_t r = 0; r < rows; ++r) {
    const float* values = x + r * columns;
    uint8_t* row = out.codes + r * out.stride;
    if (activation.is_static()) {
      kernels_.quantize(values, columns, activation.quantizer, row);
      out.scale[r] = activation.quantizer.scale;
      out.zero_point[r] = activation.quantizer.zero_point;
    } else {
      const TokenScale token = kernels_.quantize_per_token(values, columns, symmetric, activation.high, row);
      out.scale[r] = token.scale;
      out.zero_point[r] = token.zero_point;
    }
  }
  if (!trace_) return;
  record(*trace_, activation.name + ".value", x, rows, columns, columns);
  record(*trace_, activation.name, out.codes, rows, columns, out.stride);
}

void Forward::add_and_normalize(const float* x, const LayerNorm& norm, const Block& block) {
  for (int r = 0; r < block.rows; ++r) {
    float* row = hidden(block) + int64_t{r} * width_;
    kernels_.layer_norm(x + int64_t{r} * width_, row, width_, norm.parameters(), row);
  }
}

void Forward::pool(float* out) {
  const int64_t rows = batch_.sequences();
  std::vector<float> first(rows * width_);
  for (int64_t b = 0; b < rows; ++b)
    std::copy_n(workspace_.hidden + batch_.offsets[b] * width_, width_, &first[b * width_]);
  const CodeRows& input = workspace_.query;  // free by now, and has a row for every token
  quantize(weights_.pooler_input, first.data(), rows, width_, input);
  linear(weights_.pooler, input.input(static_cast<int>(rows)), floats(out, width_), workspace_.threads[0].panels);
  for (int64_t b = 0; b < rows; ++b, out += width_) kernels_.apply(Function::kTanh, out, width_, out);
}

void Forward::mean(float* out) {
  for (int64_t b = 0; b < batch_.sequences(); ++b, out += width_) {
    const float* row = workspace_.hidden + batch_.offsets[b] * width_;
    std::copy_n(row, width_, out);
    const int length = batch_.length(b);
    for (int t = 1; t < length; ++t) {
      row += width_;
      for (int i = 0; i < width_; ++i) out[i] += row[i];
    }
    for (int i = 0; i < width_; ++i) out[i] /= static_cast<float>(length);
  }
}

void Forward::logits(const float* rows, int64_t count, float* out) {
  const int labels = weights_.config.num_labels;
  workspace_.team->run(count, [&](int64_t row, int) {
    for (int j = 0; j < labels; ++j) {
      const float* weight = &weights_.head_weight[int64_t{j} * width_];
      out[row * labels + j] = kernels_.dot(rows + row * width_, weight, width_) + weights_.head_bias[j];
    }
  });
}

void Forward::trace_hidden(const std::string& name) {
  record(*trace_, name + ".hidden", workspace_.hidden, batch_.tokens(), width_, width_);
}

}  // namespace bitbert
