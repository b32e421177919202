#include "model/record.h"

#include <functional>

namespace bitbert {
namespace {

// Outputs of `linear`, `zero(row)` where they are not computed.
template <class T>
void record_outputs(Trace& trace, const Linear& linear, const std::string& name, const T* data, int64_t rows,
                    int64_t stride, const std::function<T(int64_t)>& zero) {
  std::vector<T> all;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<T> row(linear.rows(), zero(r));
    for (int i = 0; i < linear.computed(); ++i) row[linear.outputs()[i]] = data[r * stride + i];
    all.insert(all.end(), row.begin(), row.end());
  }
  record(trace, name, all.data(), rows, linear.rows(), linear.rows());
}

template <class T>
void record_outputs(Trace& trace, const Linear& linear, const std::string& name, const T* data, int64_t rows,
                    int64_t stride, int zero) {
  record_outputs<T>(trace, linear, name, data, rows, stride, [&](int64_t) { return static_cast<T>(zero); });
}

}  // namespace

void record_linear(Trace& trace, const Kernels& kernels, const Linear& linear, const GemmInput& input,
                   const GemmOutput& output, const Activation* quantized, std::byte* scratch) {
  const int n = linear.computed(), rows = input.rows;
  std::vector<int32_t> sums(int64_t{rows} * n);
  linear.run(kernels, input, {GemmOutputKind::kSums, sums.data(), n, {}}, scratch);
  record_outputs(trace, linear, linear.name() + ".acc", sums.data(), rows, n, 0);
  if (!quantized) return;
  std::vector<float> values(int64_t{rows} * n);
  linear.run(kernels, input, {GemmOutputKind::kFloats, values.data(), n, {}}, scratch);
  record_outputs(trace, linear, quantized->name + ".value", values.data(), rows, n, 0);
  if (output.kind != GemmOutputKind::kCodes) return;
  const Quantizer& q = output.quantizer;
  const bool is_signed = q.low + static_cast<float>(q.zero_point) < 0;
  if (is_signed) {
    record_outputs(trace, linear, quantized->name, static_cast<const int8_t*>(output.data), rows, output.stride,
                   q.zero_point);
  } else {
    record_outputs(trace, linear, quantized->name, static_cast<const uint8_t*>(output.data), rows, output.stride,
                   q.zero_point);
  }
}

void record_codes(Trace& trace, const Activation& activation, const float* x, int64_t stride, int64_t count,
                  int columns, const CodeRows& codes, const Linear* source) {
  const std::string values = activation.name + ".value";
  if (!source) {
    record(trace, values, x, count, columns, stride);
    return record(trace, activation.name, codes.codes, count, columns, codes.stride);
  }
  record_outputs(trace, *source, values, x, count, stride, 0);
  // What is pruned is 0, and its code the zero point of the row.
  record_outputs<uint8_t>(trace, *source, activation.name, codes.codes, count, codes.stride,
                          [&](int64_t row) { return static_cast<uint8_t>(codes.zero_point[row]); });
}

}  // namespace bitbert
