#include "model/attention.h"

#include <algorithm>
#include <cmath>

namespace bitbert {
namespace {

constexpr float kOnes[kPanelColumns] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
constexpr float kZeros[kPanelColumns] = {};
constexpr int32_t kNoSums[kPanelColumns] = {};

int divide_up(int n, int d) { return (n + d - 1) / d; }

const uint8_t* bytes(const int8_t* codes) { return reinterpret_cast<const uint8_t*>(codes); }

Panel make_panel(const uint8_t* weights, int depth, int column, int count, int max_code, const int32_t* sums) {
  const int groups = divide_up(depth, kGroup);
  return {weights, nullptr, 8, groups, column, count, max_code, sums, kOnes, kZeros};
}

int64_t panel_bytes(int depth) { return int64_t{divide_up(depth, kBlockK)} * kBlockBytes; }

// The keys as right operand: 16 keys a panel, the head's dimensions inside. Returns the number of panels.
int pack_keys(const Kernels& kernels, const int8_t* key, const AttentionSequence& s, int dims, int max_code,
              const ThreadMemory& m) {
  const int panels = divide_up(s.length, kPanelColumns);
  for (int p = 0; p < panels; ++p) {
    const int first = p * kPanelColumns, count = std::min(kPanelColumns, s.length - first);
    uint8_t* panel = m.key_panels + p * panel_bytes(dims);
    kernels.tile_rows(bytes(key + first * s.stride), s.stride, count, dims, panel, m.key_sums + first);
    m.head_panels[p] = make_panel(panel, dims, first, count, max_code, m.key_sums + first);
  }
  return panels;
}

// The values as right operand: 16 dimensions a panel, the keys inside.
int pack_values(const Kernels& kernels, const int8_t* value, const AttentionSequence& s, int dims, int max_code,
                const ThreadMemory& m, Panel* out) {
  const int panels = divide_up(dims, kPanelColumns);
  for (int p = 0; p < panels; ++p) {
    const int first = p * kPanelColumns, count = std::min(kPanelColumns, dims - first);
    uint8_t* panel = m.value_panels + p * panel_bytes(s.length);
    kernels.tile_columns(bytes(value + first), s.stride, count, s.length, panel);
    out[p] = make_panel(panel, s.length, first, count, max_code, kNoSums);
  }
  return panels;
}

// f32(f32(s_Q * s_K) * f32(1 / sqrt(head_dim))).
float score_scale(const EncoderLayer& layer, int dims) {
  const float root = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dims)));
  return (layer.query_output.quantizer.scale * layer.key_output.quantizer.scale) * root;
}

// Appends one block of rows of one head to a [heads][length][length] trace.
template <class T>
void append(Trace& trace, const std::string& name, const T* rows, int count, int length, int64_t stride) {
  TraceArray& array = trace[name];
  if (array.shape.empty()) array.data = std::vector<T>();
  std::vector<T>& data = std::get<std::vector<T>>(array.data);
  for (int r = 0; r < count; ++r) data.insert(data.end(), rows + r * stride, rows + r * stride + length);
  array.shape = {static_cast<int64_t>(data.size()) / (int64_t{length} * length), length, length};
}

}  // namespace

void attend(const Kernels& kernels, const EncoderLayer& layer, int head_dim, int head, const AttentionSequence& s,
            const ThreadMemory& m, const GemmOutput& context, Trace* trace) {
  const int offset = head * head_dim, n = s.length;
  const HeadColumns columns = layer.value_columns[head];
  const int key_panels = pack_keys(kernels, s.key + offset, s, head_dim, layer.key_output.high, m);
  Panel* values = m.head_panels + key_panels;
  const int value_panels =
      pack_values(kernels, s.value + columns.first, s, columns.count, layer.value_output.high, m, values);

  float scales[kQueryRows], prob_scales[kQueryRows];
  std::fill_n(scales, kQueryRows, score_scale(layer, head_dim));
  std::fill_n(prob_scales, kQueryRows, layer.probs.quantizer.scale * layer.value_output.quantizer.scale);
  std::fill_n(m.probs.zero_point, kQueryRows, 0);
  const int64_t stride = m.probs.stride;

  for (int first = 0; first < n; first += kQueryRows) {
    const int rows = std::min(kQueryRows, n - first);
    const CodeRows query = s.query.from(first);
    const GemmInput left = {query.codes + offset, query.stride, rows, scales, query.zero_point};
    kernels.gemm(left, m.head_panels, key_panels, {GemmOutputKind::kFloats, m.scores, stride, {}}, m.scratch);
    if (trace) append(*trace, layer.probs.name + ".value", m.scores, rows, n, stride);
    for (int r = 0; r < rows; ++r) {
      kernels.softmax_quantize(m.scores + r * stride, n, layer.probs.quantizer, m.probs.codes + r * stride);
    }
    if (trace) append(*trace, layer.probs.name, m.probs.codes, rows, n, stride);
    const GemmInput probs = {m.probs.codes, stride, rows, prob_scales, m.probs.zero_point};
    kernels.gemm(probs, values, value_panels, context.from(first), m.scratch);
  }
}

}  // namespace bitbert
