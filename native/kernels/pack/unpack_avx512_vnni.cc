// unpack with AVX-512.
#include "kernels/pack/unpack.h"
#include "kernels/pack/unpack_avx512.h"

namespace bitbert::avx512_vnni {
namespace {

template <int kBits>
void unpack_fields(const PackedPanel& panel, int8_t* out) {
  const __m512i codes = code_table(panel.codes);
  const int vectors = panel.blocks * unpack_vectors(kBits);
  for (int i = 0; i < vectors; ++i, out += 8 / kBits * kGroupBytes) {
    unpack_vector<kBits>(panel.fields + int64_t{i} * kGroupBytes, codes, out);
  }
}

}  // namespace

void unpack(const PackedPanel& panel, int8_t* out) {
  if (panel.bits == 1) return unpack_fields<1>(panel, out);
  if (panel.bits == 2) return unpack_fields<2>(panel, out);
  unpack_fields<4>(panel, out);
}

}  // namespace bitbert::avx512_vnni
