// The step of unpack with AVX-512: a shift and a mask give the fields of one group, a byte shuffle looks up their
// codes.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/gemm.h"

namespace bitbert {
namespace {

// Vectors of fields in a block of 1024 codes.
constexpr int unpack_vectors(int bits) { return kBlockBytes / kGroupBytes * bits / 8; }

// One vector of fields to the 8 / kBits vectors of codes that follow each other at `out`.
template <int kBits>
inline void unpack_vector(const uint8_t* fields, __m512i codes, int8_t* out) {
  const __m512i mask = _mm512_set1_epi8((1 << kBits) - 1);
  const __m512i packed = _mm512_loadu_si512(fields);
#pragma GCC unroll 8
  for (int s = 0; s < 8 / kBits; ++s) {
    const __m512i field = _mm512_and_si512(_mm512_srli_epi16(packed, kBits * s), mask);
    _mm512_storeu_si512(out + s * kGroupBytes, _mm512_shuffle_epi8(codes, field));
  }
}

inline __m512i code_table(const int8_t* codes) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
}

}  // namespace
}  // namespace bitbert
