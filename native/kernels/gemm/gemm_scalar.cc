// The reference for gemm.h: plain loops, any CPU.
#include "kernels/gemm/unpacked.h"
#include "kernels/rowops/scalar_math.h"

namespace bitbert::scalar {
namespace {

void multiply(const uint8_t* codes, const Panel& panel, int32_t (&sums)[kPanelColumns]) {
  for (int32_t& sum : sums) sum = 0;
  for (int g = 0; g < panel.groups; ++g) {
    const int8_t* weights = panel.bytes() + int64_t{g} * kGroupBytes;
    for (int c = 0; c < kPanelColumns; ++c) {
      for (int j = 0; j < kGroup; ++j) sums[c] += codes[kGroup * g + j] * weights[kGroup * c + j];
    }
  }
}

void store(int32_t sum, float scale, float bias, const GemmOutput& out, int64_t index) {
  if (out.kind == GemmOutputKind::kSums) {
    static_cast<int32_t*>(out.data)[index] = sum;
    return;
  }
  const float y = fma(static_cast<float>(sum), scale, bias);
  if (out.kind == GemmOutputKind::kFloats) {
    static_cast<float*>(out.data)[index] = y;
  } else {
    static_cast<uint8_t*>(out.data)[index] = quantize_one(y, out.quantizer);
  }
}

void multiply(const GemmInput& in, const Panel& panel, const GemmOutput& out) {
  for (int row = 0; row < in.rows; ++row) {
    int32_t sums[kPanelColumns];
    multiply(in.codes + row * in.stride, panel, sums);
    for (int c = 0; c < panel.count; ++c) {
      const int32_t sum = sums[c] - in.zero_point[row] * panel.sums[c];
      store(sum, in.scale[row] * panel.scale[c], panel.bias[c], out, row * out.stride + panel.column + c);
    }
  }
}

}  // namespace

void gemm(const GemmInput& in, const Panel* panels, int panel_count, const GemmOutput& out, std::byte* scratch) {
  for_unpacked<unpack>(panels, panel_count, scratch, [&](const Panel* pair, int count) {
    for (const Panel* panel = pair; panel < pair + count; ++panel) multiply(in, *panel, out);
  });
}

}  // namespace bitbert::scalar
