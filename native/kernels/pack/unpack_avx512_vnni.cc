// unpack with AVX-512: a shift and a mask give the fields of one group, a byte shuffle looks up their codes.
#include <immintrin.h>

#include "kernels/gemm/gemm.h"
#include "kernels/pack/unpack.h"

namespace bitbert::avx512_vnni {
namespace {

template <int kBits>
void unpack_fields(const PackedPanel& panel, int8_t* out) {
  constexpr int kFields = 8 / kBits;
  const __m512i codes = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(panel.codes)));
  const __m512i mask = _mm512_set1_epi8((1 << kBits) - 1);
  const int64_t vectors = int64_t{panel.blocks} * kBlockBytes / kGroupBytes / kFields;
  const uint8_t* in = panel.fields;
  for (int64_t i = 0; i < vectors; ++i, in += kGroupBytes) {
    const __m512i packed = _mm512_loadu_si512(in);
#pragma GCC unroll 8
    for (int s = 0; s < kFields; ++s, out += kGroupBytes) {
      const __m512i field = _mm512_and_si512(_mm512_srli_epi16(packed, kBits * s), mask);
      _mm512_storeu_si512(out, _mm512_shuffle_epi8(codes, field));
    }
  }
}

}  // namespace

void unpack(const PackedPanel& panel, int8_t* out) {
  if (panel.bits == 1) return unpack_fields<1>(panel, out);
  if (panel.bits == 2) return unpack_fields<2>(panel, out);
  unpack_fields<4>(panel, out);
}

}  // namespace bitbert::avx512_vnni
