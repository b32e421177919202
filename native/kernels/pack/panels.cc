#include "kernels/pack/panels.h"

#include <algorithm>
#include <cstring>

#include "kernels/gemm/gemm.h"

namespace bitbert {

void tile_rows(const uint8_t* rows, int64_t stride, int count, int k, int groups, uint8_t* out) {
  const int whole = k / kGroup;
  std::memset(out, 0, int64_t{groups} * kGroupBytes);
  for (int r = 0; r < count; ++r) {
    const uint8_t* row = rows + r * stride;
    uint8_t* target = out + r * kGroup;
    for (int g = 0; g < whole; ++g) std::memcpy(target + g * kGroupBytes, row + g * kGroup, kGroup);
    std::memcpy(target + whole * kGroupBytes, row + whole * kGroup, k % kGroup);
  }
}

void tile_columns(const uint8_t* rows, int64_t stride, int count, int k, int groups, uint8_t* out) {
  std::memset(out, 0, int64_t{groups} * kGroupBytes);
  for (int g = 0; g < k / kGroup; ++g) {
    const uint8_t* row = rows + int64_t{g} * kGroup * stride;
    for (int c = 0; c < count; ++c) {
      const uint32_t group =
          row[c] | row[c + stride] << 8 | row[c + 2 * stride] << 16 | static_cast<uint32_t>(row[c + 3 * stride]) << 24;
      std::memcpy(out + g * kGroupBytes + c * kGroup, &group, kGroup);
    }
  }
  for (int j = k / kGroup * kGroup; j < k; ++j) {
    for (int c = 0; c < count; ++c) out[j / kGroup * kGroupBytes + c * kGroup + j % kGroup] = rows[j * stride + c];
  }
}

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
