// Panels of keys and values with AVX2: rows are transposed in squares of 8 x 8 groups, columns interleaved four by
// four.
#include <immintrin.h>

#include <cstring>

#include "kernels/gemm/gemm.h"
#include "kernels/pack/panels.h"

namespace bitbert::avx2 {
namespace {

constexpr int kSquare = 8;                      // groups, and rows
constexpr int kSquareBytes = kSquare * kGroup;  // 32 of each row

// The first n bytes at p, then zeros.
__m256i load_first(const uint8_t* p, int n) {
  if (n >= kSquareBytes) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  alignas(32) uint8_t copy[kSquareBytes] = {};
  if (n > 0) std::memcpy(copy, p, n);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(copy));
}

// Row i, group j <-> row j, group i.
void transpose(__m256i (&x)[kSquare]) {
  __m256i pairs[kSquare], fours[kSquare];
  for (int i = 0; i < kSquare; i += 2) {
    pairs[i] = _mm256_unpacklo_epi32(x[i], x[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < kSquare; i += 4) {
    fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
    fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
    fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
    x[i + 4] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
  }
}

// Sums of the four signed bytes of each group.
__m256i group_sums(__m256i groups) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), groups);
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

int blocks_of(int k) { return (k + kBlockK - 1) / kBlockK; }

// Eight of a panel's rows, `count` of them there.
__m256i tile_eight(const uint8_t* rows, int64_t stride, int count, int k, uint8_t* out) {
  __m256i sums = _mm256_setzero_si256();
  for (int first = 0; first < blocks_of(k) * kBlockK; first += kSquareBytes) {
    __m256i square[kSquare];
    for (int r = 0; r < kSquare; ++r) {
      square[r] = r < count ? load_first(rows + r * stride + first, k - first) : _mm256_setzero_si256();
    }
    transpose(square);
    for (int g = 0; g < kSquare; ++g, out += kGroupBytes) {
      sums = _mm256_add_epi32(sums, group_sums(square[g]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), square[g]);
    }
  }
  return sums;
}

__m128i load_columns(const uint8_t* row, int count) {
  if (count == kPanelColumns) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
  alignas(16) uint8_t copy[kPanelColumns] = {};
  std::memcpy(copy, row, count);
  return _mm_load_si128(reinterpret_cast<const __m128i*>(copy));
}

}  // namespace

void tile_rows(const uint8_t* rows, int64_t stride, int count, int k, uint8_t* out, int32_t* sums) {
  for (int first = 0; first < kPanelColumns; first += kSquare) {
    const __m256i eight = tile_eight(rows + first * stride, stride, count - first, k, out + first * kGroup);
    if (sums) _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + first), eight);
  }
}

void tile_columns(const uint8_t* rows, int64_t stride, int count, int k, uint8_t* out) {
  const int groups = (k + kGroup - 1) / kGroup;
  for (int g = 0; g < groups; ++g, rows += kGroup * stride, out += kGroupBytes) {
    __m128i row[kGroup];
    for (int j = 0; j < kGroup; ++j) {
      row[j] = kGroup * g + j < k ? load_columns(rows + j * stride, count) : _mm_setzero_si128();
    }
    const __m128i low01 = _mm_unpacklo_epi8(row[0], row[1]), low23 = _mm_unpacklo_epi8(row[2], row[3]);
    const __m128i high01 = _mm_unpackhi_epi8(row[0], row[1]), high23 = _mm_unpackhi_epi8(row[2], row[3]);
    auto* target = reinterpret_cast<__m128i*>(out);
    _mm_storeu_si128(target, _mm_unpacklo_epi16(low01, low23));
    _mm_storeu_si128(target + 1, _mm_unpackhi_epi16(low01, low23));
    _mm_storeu_si128(target + 2, _mm_unpacklo_epi16(high01, high23));
    _mm_storeu_si128(target + 3, _mm_unpackhi_epi16(high01, high23));
  }
  std::memset(out, 0, (blocks_of(k) * kBlockK / kGroup - groups) * kGroupBytes);
}

}  // namespace bitbert::avx2
