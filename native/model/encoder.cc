#include "model/encoder.h"

#include <algorithm>
#include <stdexcept>

#include "cpu/dispatch.h"
#include "cpu/float_state.h"
#include "model/forward.h"

namespace bitbert {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxBlockRows = 256;  // their feed-forward codes, 256 x 3072, stay in L2

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

void check_range(const char* what, std::span<const int32_t> values, int32_t end) {
  const auto bad = std::find_if(values.begin(), values.end(), [end](int32_t v) { return v < 0 || v >= end; });
  if (bad == values.end()) return;
  fail(std::string(what) + " " + std::to_string(*bad) + " at token " + std::to_string(bad - values.begin()) +
       " is out of range, expected 0 to " + std::to_string(end - 1));
}

void check_offsets(std::span<const int64_t> offsets, int64_t tokens, int longest) {
  if (offsets.size() < 2) fail("offsets: expected one more than there are sequences, and at least one sequence");
  if (offsets.front() != 0 || offsets.back() != tokens) {
    fail("offsets: must run from 0 to the number of tokens, " + std::to_string(tokens));
  }
  for (size_t b = 0; b + 1 < offsets.size(); ++b) {
    // Compared without subtracting: the difference of two hostile offsets may overflow.
    const bool fits = offsets[b] >= 0 && offsets[b] < offsets[b + 1] && offsets[b + 1] <= tokens;
    if (!fits) fail("offsets: sequence " + std::to_string(b) + " is empty or not inside the tokens");
    if (const int64_t length = offsets[b + 1] - offsets[b]; length > longest) {
      fail("sequence " + std::to_string(b) + " has " + std::to_string(length) + " tokens, expected 1 to " +
           std::to_string(longest));
    }
  }
}

// Tokens in a block for which reading every weight costs little beside multiplying it.
constexpr int64_t kEnoughRows = 192;

// Each thread on its own blocks if there are enough tokens for that, else as few threads to a block as possible.
Sharing share_work(int64_t tokens, int threads, int most_rows) {
  int parts = 1;
  while (parts < threads && (threads % parts != 0 || tokens * parts < kEnoughRows * threads)) ++parts;
  const int groups = threads / parts;
  const int64_t full = (tokens + most_rows - 1) / most_rows;
  const int64_t blocks = parts > 1 ? groups : (full + groups - 1) / groups * groups;
  return {groups, parts, static_cast<int>((tokens + blocks - 1) / blocks)};
}

// Gives the workspace back whatever happens.
class Lease {
 public:
  explicit Lease(WorkspacePool& pool) : pool_(pool), workspace_(pool.take()) {}
  ~Lease() { pool_.give_back(std::move(workspace_)); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  Workspace& operator*() { return *workspace_; }

 private:
  WorkspacePool& pool_;
  std::unique_ptr<Workspace> workspace_;
};

Weights build(const EncoderSource& source, const Kernels& kernels) {
  const FloatState float_state;
  return build_weights(source, kernels);
}

}  // namespace

Encoder::Encoder(const EncoderSource& source, const std::string& isa)
    : kernels_(find_kernels(isa)), weights_(build(source, kernels_)) {}

int64_t Encoder::output_rows(const Batch& batch, Output output) const {
  const bool per_token =
      output == Output::kHidden || (output == Output::kLogits && weights_.config.head == Head::kToken);
  return per_token ? batch.tokens() : batch.sequences();
}

int Encoder::output_columns(Output output) const {
  return output == Output::kLogits ? weights_.config.num_labels : weights_.config.hidden_size;
}

void Encoder::check(const Batch& batch, Output output, int threads) const {
  const EncoderConfig& c = weights_.config;
  if (threads < 1 || threads > kMaxThreads) {
    fail("threads: " + std::to_string(threads) + " is out of range, expected 1 to " + std::to_string(kMaxThreads));
  }
  if (output == Output::kPooled && !c.pooler) fail("output 'pooled': this model has no pooler");
  if (output == Output::kLogits && c.head == Head::kNone) fail("output 'logits': this model has no head");
  if (batch.token_types.size() != batch.ids.size()) {
    fail("token_types: " + std::to_string(batch.token_types.size()) + " values for " +
         std::to_string(batch.ids.size()) + " ids");
  }
  check_offsets(batch.offsets, batch.tokens(), c.max_position_embeddings);
  check_range("token id", batch.ids, c.vocab_size);
  check_range("token type", batch.token_types, c.type_vocab_size);
}

WorkspaceShape Encoder::shape(const Batch& batch, int threads) const {
  const EncoderConfig& c = weights_.config;
  WorkspaceShape s{};
  s.tokens = batch.tokens();
  for (int64_t b = 0; b < batch.sequences(); ++b) s.longest = std::max(s.longest, batch.length(b));
  s.sharing = share_work(s.tokens, threads, kMaxBlockRows);
  s.stages = 2 * c.num_hidden_layers + 1;
  s.hidden = c.hidden_size;
  s.intermediate = c.intermediate_size;
  s.head_dim = c.head_dim();
  for (const EncoderLayer& layer : weights_.layers) {
    // No other product is deeper than these two.
    s.gemm_scratch = std::max({s.gemm_scratch, layer.query.scratch_bytes(), layer.output.scratch_bytes()});
    s.floats_between |= !layer.gelu_input.is_static() || !layer.output_input.is_static();
  }
  return s;
}

std::vector<float> Encoder::forward(const Batch& batch, Output output, int threads, Profile* profile) {
  check(batch, output, threads);
  return run(batch, output, shape(batch, threads), nullptr, profile);
}

std::vector<float> Encoder::run(const Batch& batch, Output output, const WorkspaceShape& shape, Trace* trace,
                                Profile* profile) {
  const FloatState float_state;
  Lease workspace(workspaces_);
  (*workspace).prepare(shape);
  const Pass pass = {weights_, kernels_, batch, shape, *workspace, trace, profile};
  bitbert::forward(pass);
  std::vector<float> out(output_rows(batch, output) * output_columns(output));
  finish(pass, output, out.data());
  return out;
}

Trace Encoder::trace(std::span<const int32_t> ids, std::span<const int32_t> token_types) {
  const int64_t offsets[] = {0, static_cast<int64_t>(ids.size())};
  const Batch batch = {ids, token_types, offsets};
  const EncoderConfig& c = weights_.config;
  const Output output = c.head != Head::kNone ? Output::kLogits : c.pooler ? Output::kPooled : Output::kHidden;
  check(batch, output, 1);
  WorkspaceShape whole = shape(batch, 1);
  whole.sharing.block_rows = static_cast<int>(batch.tokens());
  whole.floats_between = true;
  Trace trace;
  const std::vector<float> out = run(batch, output, whole, &trace, nullptr);
  const int columns = output_columns(output);
  const char* name = output == Output::kLogits ? "logits" : output == Output::kPooled ? "pooled" : "hidden";
  record(trace, name, out.data(), static_cast<int64_t>(out.size()) / columns, columns, columns);
  return trace;
}

}  // namespace bitbert
