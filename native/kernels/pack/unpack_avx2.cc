// unpack with AVX2: a shift and a mask give the fields of one group, a byte shuffle looks up their codes.
#include <immintrin.h>

#include "kernels/gemm/gemm.h"
#include "kernels/pack/unpack.h"

namespace bitbert::avx2 {
namespace {

template <int kBits>
void unpack_fields(const PackedPanel& panel, int8_t* out) {
  constexpr int kFields = 8 / kBits;
  const __m256i codes = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(panel.codes)));
  const __m256i mask = _mm256_set1_epi8((1 << kBits) - 1);
  const int64_t vectors = int64_t{panel.blocks} * kBlockBytes / kGroupBytes / kFields;
  const uint8_t* in = panel.fields;
  for (int64_t i = 0; i < vectors; ++i, in += kGroupBytes, out += kFields * kGroupBytes) {
#pragma GCC unroll 2
    for (int half = 0; half < kGroupBytes; half += 32) {
      const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + half));
#pragma GCC unroll 8
      for (int s = 0; s < kFields; ++s) {
        const __m256i field = _mm256_and_si256(_mm256_srli_epi16(packed, kBits * s), mask);
        auto* target = reinterpret_cast<__m256i*>(out + s * kGroupBytes + half);
        _mm256_storeu_si256(target, _mm256_shuffle_epi8(codes, field));
      }
    }
  }
}

}  // namespace

void unpack(const PackedPanel& panel, int8_t* out) {
  if (panel.bits == 1) return unpack_fields<1>(panel, out);
  if (panel.bits == 2) return unpack_fields<2>(panel, out);
  unpack_fields<4>(panel, out);
}

}  // namespace bitbert::avx2
