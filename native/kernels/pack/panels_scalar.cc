// The reference for panels.h.
#include <algorithm>
#include <cstring>

#include "kernels/gemm/gemm.h"
#include "kernels/pack/panels.h"

namespace bitbert {
namespace {

int64_t panel_bytes(int k) { return int64_t{(k + kBlockK - 1) / kBlockK} * kBlockBytes; }

// Where element k of column c lies.
int64_t place(int c, int k) { return int64_t{k / kGroup} * kGroupBytes + c * kGroup + k % kGroup; }

}  // namespace

namespace scalar {

void tile_rows(const uint8_t* rows, int64_t stride, int count, int k, uint8_t* out, int32_t* sums) {
  std::memset(out, 0, panel_bytes(k));
  if (sums) std::fill_n(sums, kPanelColumns, 0);
  for (int r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    for (int i = 0; i < k; ++i) {
      out[place(r, i)] = row[i];
      if (sums) sums[r] += static_cast<int8_t>(row[i]);
    }
  }
}

void tile_columns(const uint8_t* rows, int64_t stride, int count, int k, uint8_t* out) {
  std::memset(out, 0, panel_bytes(k));
  for (int i = 0; i < k; ++i) {
    for (int c = 0; c < count; ++c) out[place(c, i)] = rows[i * stride + c];
  }
}

}  // namespace scalar

void narrow_panel(const uint8_t* fields, int bits, int blocks, uint8_t* out) {
  const int per_byte = 8 / bits;
  const int64_t vectors = int64_t{blocks} * kBlockBytes / kGroupBytes / per_byte;
  std::fill_n(out, vectors * kGroupBytes, 0);
  for (int64_t i = 0; i < vectors; ++i) {
    for (int s = 0; s < per_byte; ++s) {
      for (int j = 0; j < kGroupBytes; ++j) {
        out[i * kGroupBytes + j] |= fields[(i * per_byte + s) * kGroupBytes + j] << (bits * s);
      }
    }
  }
}

}  // namespace bitbert
