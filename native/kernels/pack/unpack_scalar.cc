// The reference for unpack.h.
#include "kernels/gemm/gemm.h"
#include "kernels/pack/unpack.h"

namespace bitbert::scalar {

void unpack(const PackedPanel& panel, int8_t* out) {
  const int fields = 8 / panel.bits;
  const int mask = (1 << panel.bits) - 1;
  const int64_t vectors = int64_t{panel.blocks} * kBlockBytes / kGroupBytes / fields;
  for (int64_t i = 0; i < vectors; ++i) {
    for (int s = 0; s < fields; ++s) {
      for (int j = 0; j < kGroupBytes; ++j) {
        *out++ = panel.codes[(panel.fields[i * kGroupBytes + j] >> (panel.bits * s)) & mask];
      }
    }
  }
}

}  // namespace bitbert::scalar
