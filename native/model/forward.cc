#include "model/forward.h"

#include <algorithm>
#include <deque>

#include "model/attention.h"
#include "model/codes.h"
#include "model/record.h"

namespace bitbert {
namespace {

GemmOutput floats(float* out, int64_t stride) { return {GemmOutputKind::kFloats, out, stride, {}}; }

GemmOutput codes(void* out, int64_t stride, const Activation& activation) {
  return {GemmOutputKind::kCodes, out, stride, activation.quantizer};
}

// Rows [first, last).
struct Rows {
  int64_t first, last;
  int64_t count() const { return last - first; }
};

Rows share(int64_t count, Part part) {
  return {count * part.index / part.count, count * (part.index + 1) / part.count};
}

// The work of one thread.
class Worker {
 public:
  Worker(const Pass& pass, Barrier& all, Barrier& group, int thread)
      : pass_(pass),
        weights_(pass.weights),
        kernels_(pass.kernels),
        workspace_(pass.workspace),
        width_(pass.weights.config.hidden_size),
        all_(all),
        group_barrier_(group),
        group_(thread / pass.shape.sharing.parts),
        part_{thread % pass.shape.sharing.parts, pass.shape.sharing.parts},
        memory_(pass.workspace.threads[thread]),
        block_memory_(pass.workspace.blocks[group_]) {}

  void run() {
    const std::vector<EncoderLayer>& layers = weights_.layers;
    for_each_block([&] {
      embed(layers[0]);
      sync();
      if (pass_.trace) trace_hidden("embeddings");
      project(layers[0]);
    });
    for (size_t i = 0; i < layers.size(); ++i) {
      const EncoderLayer* next = i + 1 < layers.size() ? &layers[i + 1] : nullptr;
      meet(all_);
      attend(layers[i]);
      meet(all_);
      for_each_block([&] {
        finish_attention(layers[i]);
        sync();
        feed_forward(layers[i], next);
        sync();
        if (pass_.trace) trace_hidden("encoder.layer." + std::to_string(i));
        if (next) project(*next);
      });
    }
  }

 private:
  // ---- Sharing ------------------------------------------------------------------------------------------------------

  // Runs body for every block of tokens that is this thread's or this group's, with `block_` set.
  template <class Body>
  void for_each_block(Body body) {
    const int64_t tokens = pass_.batch.tokens(), most = pass_.shape.sharing.block_rows;
    const int64_t blocks = (tokens + most - 1) / most;
    if (part_.count > 1) {
      if (group_ < blocks) run_block(group_, blocks, body);
      return;
    }
    std::atomic<int64_t>& next = workspace_.next[stage_++];
    for (int64_t b; (b = next.fetch_add(1, std::memory_order_relaxed)) < blocks;) run_block(b, blocks, body);
  }

  template <class Body>
  void run_block(int64_t index, int64_t blocks, Body body) {
    block_ = share(pass_.batch.tokens(), {static_cast<int>(index), static_cast<int>(blocks)});
    body();
  }

  void meet(Barrier& barrier) {
    const Timer timer(pass_.profile, Operation::kWaiting);
    barrier.wait();
  }

  // Until all threads of the block are here.
  void sync() {
    if (part_.count > 1) meet(group_barrier_);
  }

  int block_rows() const { return static_cast<int>(block_.count()); }

  // The rows of the block, counted from its first, that this thread treats where rows are shared.
  Rows own_rows() const { return share(block_.count(), part_); }

  float* hidden(int64_t row) const { return workspace_.hidden + (block_.first + row) * width_; }

  // ---- Operations on the block --------------------------------------------------------------------------------------

  void embed(const EncoderLayer& first) {
    const Timer timer(pass_.profile, Operation::kEmbeddings);
    const Rows rows = own_rows();
    for (int64_t r = rows.first; r < rows.last; ++r) {
      embed_token(block_.first + r, hidden(r));
      normalize_row(hidden(r), nullptr, weights_.embedding_norm, &first.input, r);
    }
    complete_input(&first.input);
  }

  void embed_token(int64_t token, float* out) {
    const auto& offsets = pass_.batch.offsets;
    const int64_t start = *(std::upper_bound(offsets.begin(), offsets.end(), token) - 1);
    int8_t* word = memory_.codes;
    int8_t* type = word + width_;
    int8_t* place = type + width_;
    kernels_.embed(weights_.word.look_up(pass_.batch.ids[token], word),
                   weights_.token_type.look_up(pass_.batch.token_types[token], type),
                   weights_.position.look_up(static_cast<int>(token - start), place), width_, out);
  }

  void project(const EncoderLayer& layer) {
    const Timer timer(pass_.profile, Operation::kQueryKeyValue);
    const GemmInput input = block_memory_.input.input(block_rows());
    const CodeRows query = workspace_.query.from(block_.first);
    const int64_t offset = block_.first * width_;
    linear(layer.query, input, codes(query.codes, query.stride, layer.query_output), &layer.query_output);
    linear(layer.key, input, codes(workspace_.key + offset, width_, layer.key_output), &layer.key_output);
    linear(layer.value, input, codes(workspace_.value + offset, width_, layer.value_output), &layer.value_output);
    const Rows rows = own_rows();
    complete(query.from(rows.first), rows.count(), width_, layer.query_output.quantizer);
  }

  void attend(const EncoderLayer& layer) {
    const Timer timer(pass_.profile, Operation::kAttention);
    const EncoderConfig& c = weights_.config;
    std::atomic<int64_t>& next = workspace_.next[stage_++];
    const int64_t tasks = pass_.batch.sequences() * c.num_attention_heads;
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      attend(layer, task / c.num_attention_heads, static_cast<int>(task % c.num_attention_heads));
    }
  }

  void attend(const EncoderLayer& layer, int64_t sequence, int head) {
    const Activation& out = layer.attention_output_input;
    const int64_t first = pass_.batch.offsets[sequence], offset = first * width_;
    const int column = layer.value_columns[head].first;
    const CodeRows rows = workspace_.context.from(first);
    const AttentionSequence s = {workspace_.query.from(first), workspace_.key + offset, workspace_.value + offset,
                                 width_, pass_.batch.length(sequence)};
    bitbert::attend(kernels_, layer, weights_.config.head_dim(), head, s, memory_,
                    context_as_codes(layer) ? codes(rows.codes + column, rows.stride, out)
                                            : floats(workspace_.context_values + offset + column, width_),
                    pass_.trace);
  }

  bool context_as_codes(const EncoderLayer& layer) const {
    return layer.attention_output_input.is_static() && !pass_.trace;
  }

  void finish_attention(const EncoderLayer& layer) {
    const Activation& activation = layer.attention_output_input;
    const Linear& product = layer.attention_output;
    const CodeRows context = workspace_.context.from(block_.first);
    const Rows rows = own_rows();
    if (context_as_codes(layer)) {
      complete(context.from(rows.first), rows.count(), product.inputs(), activation.quantizer);
    } else {
      quantize(activation, workspace_.context_values + (block_.first + rows.first) * width_, width_, rows.count(),
               product.inputs(), context.from(rows.first), &layer.value);
    }
    sync();
    {
      const Timer timer(pass_.profile, Operation::kAttentionOutput);
      linear(product, context.input(block_rows()), floats(block_memory_.floats, width_));
    }
    sync();
    add_and_normalize(layer.attention_norm, &layer.intermediate_input);
  }

  void feed_forward(const EncoderLayer& layer, const EncoderLayer* next) {
    activate(layer);
    sync();
    {
      const Timer timer(pass_.profile, Operation::kOutput);
      linear(layer.output, block_memory_.inner.input(block_rows()), floats(block_memory_.floats, width_));
    }
    sync();
    add_and_normalize(layer.output_norm, next ? &next->input : nullptr);
  }

  // ---- The activation function: by a table from code to code where that is possible, else by floats ----------------

  void activate(const EncoderLayer& layer) {
    const CodeRows& inner = block_memory_.inner;
    const Rows rows = own_rows();
    const int columns = layer.intermediate.computed();
    if (layer.gelu_input.is_static() && layer.output_input.is_static() && !pass_.trace) {
      intermediate_codes(layer);
      translate(layer);
      return complete(inner.from(rows.first), rows.count(), columns, layer.output_input.quantizer);
    }
    activation_values(layer);
    sync();
    quantize(layer.output_input, block_memory_.wide + rows.first * columns, columns, rows.count(), columns,
             inner.from(rows.first), &layer.intermediate);
  }

  void intermediate_codes(const EncoderLayer& layer) {
    const Timer timer(pass_.profile, Operation::kIntermediate);
    const CodeRows& inner = block_memory_.inner;
    linear(layer.intermediate, block_memory_.input.input(block_rows()),
           codes(inner.codes, inner.stride, layer.gelu_input), &layer.gelu_input);
  }

  void translate(const EncoderLayer& layer) {
    Linear::Range columns = layer.intermediate.range(part_);
    Rows rows = {0, block_.count()};
    if (!layer.intermediate.contiguous()) {
      sync();
      columns = {0, layer.intermediate.computed()};
      rows = own_rows();
    }
    const Timer timer(pass_.profile, Operation::kActivation);
    const CodeRows& inner = block_memory_.inner;
    for (int64_t r = rows.first; r < rows.last; ++r) {
      kernels_.translate(inner.codes + r * inner.stride + columns.first, columns.last - columns.first,
                         layer.gelu_table.codes.data());
    }
  }

  // Into `wide`.
  void activation_values(const EncoderLayer& layer) {
    const BlockMemory& m = block_memory_;
    const int n = layer.intermediate.computed();
    if (layer.gelu_input.is_static()) {
      intermediate_codes(layer);
    } else {
      const Timer timer(pass_.profile, Operation::kIntermediate);
      linear(layer.intermediate, m.input.input(block_rows()), floats(m.wide, n), &layer.gelu_input);
    }
    sync();
    const Timer timer(pass_.profile, Operation::kActivation);
    const Rows rows = own_rows();
    for (int64_t r = rows.first; r < rows.last; ++r) {
      float* row = m.wide + r * n;
      if (layer.gelu_input.is_static()) {
        const uint8_t* code = m.inner.codes + r * m.inner.stride;
        for (int i = 0; i < n; ++i) row[i] = layer.gelu_table.values[code[i]];
      } else {
        kernels_.apply(weights_.hidden_act, row, n, row);
      }
    }
  }

  // ---- Parts of the operations --------------------------------------------------------------------------------------

  // The outputs of this thread's part.
  void linear(const Linear& linear, const GemmInput& input, const GemmOutput& output,
              const Activation* quantized = nullptr) {
    linear.run(kernels_, input, output, memory_.scratch, part_);
    if (pass_.trace) record_linear(*pass_.trace, kernels_, linear, input, output, quantized, memory_.scratch);
  }

  // Codes of `count` rows of floats, which lie `stride` apart. `source` is the layer that they come from, if any.
  void quantize(const Activation& activation, const float* x, int64_t stride, int64_t count, int columns,
                const CodeRows& out, const Linear* source) {
    quantize_rows(kernels_, activation, x, stride, count, columns, out);
    if (pass_.trace) record_codes(*pass_.trace, activation, x, stride, count, columns, out, source);
  }

  void add_and_normalize(const LayerNorm& norm, const Activation* next) {
    const Timer timer(pass_.profile, Operation::kLayerNorm);
    const Rows rows = own_rows();
    for (int64_t r = rows.first; r < rows.last; ++r) {
      normalize_row(block_memory_.floats + r * width_, hidden(r), norm, next, r);
    }
    complete_input(next);
  }

  // Row r of the residual stream, and its codes as input of what is next.
  void normalize_row(const float* x, const float* residual, const LayerNorm& norm, const Activation* next, int64_t r) {
    const bool as_codes = next && next->is_static();
    kernels_.layer_norm(x, residual, width_, norm.parameters(), hidden(r), as_codes ? &next->quantizer : nullptr,
                        block_memory_.input.codes + r * block_memory_.input.stride);
  }

  // What normalize_row leaves to do for this thread's rows.
  void complete_input(const Activation* next) {
    if (!next) return;
    const Rows rows = own_rows();
    const CodeRows input = block_memory_.input.from(rows.first);
    if (next->is_static() && !pass_.trace) return complete(input, rows.count(), width_, next->quantizer);
    quantize(*next, hidden(rows.first), width_, rows.count(), width_, input, nullptr);
  }

  void trace_hidden(const std::string& name) {
    record(*pass_.trace, name + ".hidden", workspace_.hidden, block_.count(), width_, width_);
  }

  const Pass& pass_;
  const Weights& weights_;
  const Kernels& kernels_;
  Workspace& workspace_;
  const int width_;  // hidden size
  Barrier& all_;
  Barrier& group_barrier_;
  const int group_;
  const Part part_;
  const ThreadMemory& memory_;
  const BlockMemory& block_memory_;
  Rows block_{};
  int stage_ = 0;
};

}  // namespace

void forward(const Pass& pass) {
  const Sharing& sharing = pass.shape.sharing;
  Barrier all(sharing.threads());
  std::deque<Barrier> groups;
  for (int i = 0; i < sharing.groups; ++i) groups.emplace_back(sharing.parts);
  pass.workspace.team->run([&](int thread) { Worker(pass, all, groups[thread / sharing.parts], thread).run(); });
}

}  // namespace bitbert
