// Sixteen floats and sixteen int32 in pairs of AVX2 registers, with FMA. Names and meaning as in lanes/avx512.h;
// internal linkage likewise.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define BITBERT_INLINE inline __attribute__((always_inline))

namespace bitbert {
namespace {

inline constexpr int kLanes = 16;

struct Lanes {
  __m256 lo, hi;
};
struct IntLanes {
  __m256i lo, hi;
};

// Masks of the first n lanes: a window on ones followed by zeros.
alignas(64) constexpr int32_t kMasks[3 * 8 + 8] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

BITBERT_INLINE IntLanes first(int n) {
  const int32_t* window = kMasks + (kLanes - n);
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(window)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(window + 8))};
}

BITBERT_INLINE Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
BITBERT_INLINE Lanes load(const float* p, int n) {
  if (n == kLanes) return load(p);
  const IntLanes mask = first(n);
  return {_mm256_maskload_ps(p, mask.lo), _mm256_maskload_ps(p + 8, mask.hi)};
}
BITBERT_INLINE IntLanes load(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
BITBERT_INLINE IntLanes load_codes(const int8_t* p, int n) {
  alignas(16) int8_t copy[kLanes] = {};
  if (n < kLanes) {
    for (int i = 0; i < n; ++i) copy[i] = p[i];
    p = copy;
  }
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))};
}

BITBERT_INLINE void store(float* p, Lanes x, int n) {
  if (n == kLanes) {
    _mm256_storeu_ps(p, x.lo);
    _mm256_storeu_ps(p + 8, x.hi);
    return;
  }
  const IntLanes mask = first(n);
  _mm256_maskstore_ps(p, mask.lo, x.lo);
  _mm256_maskstore_ps(p + 8, mask.hi, x.hi);
}
BITBERT_INLINE void store(int32_t* p, IntLanes x, int n) {
  const IntLanes mask = first(n);
  _mm256_maskstore_epi32(p, mask.lo, x.lo);
  _mm256_maskstore_epi32(p + 8, mask.hi, x.hi);
}
BITBERT_INLINE void store_bytes(uint8_t* p, IntLanes x, int n) {
  const __m256i low = _mm256_set1_epi32(0xff);
  const __m256i words = _mm256_packus_epi32(_mm256_and_si256(x.lo, low), _mm256_and_si256(x.hi, low));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);  // packing works within 128 bits
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1));
  if (n == kLanes) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  alignas(16) uint8_t copy[kLanes];
  _mm_store_si128(reinterpret_cast<__m128i*>(copy), bytes);
  for (int i = 0; i < n; ++i) p[i] = copy[i];
}

BITBERT_INLINE Lanes splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
BITBERT_INLINE IntLanes splat(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
BITBERT_INLINE Lanes keep_first(Lanes x, int n) {
  const IntLanes mask = first(n);
  return {_mm256_and_ps(x.lo, _mm256_castsi256_ps(mask.lo)), _mm256_and_ps(x.hi, _mm256_castsi256_ps(mask.hi))};
}

BITBERT_INLINE Lanes operator+(Lanes a, Lanes b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
BITBERT_INLINE Lanes operator-(Lanes a, Lanes b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
BITBERT_INLINE Lanes operator*(Lanes a, Lanes b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
BITBERT_INLINE Lanes operator/(Lanes a, Lanes b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
BITBERT_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
BITBERT_INLINE Lanes max(Lanes a, Lanes b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
BITBERT_INLINE Lanes min(Lanes a, Lanes b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }

BITBERT_INLINE Lanes select_less(Lanes a, Lanes b, Lanes yes, Lanes no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
BITBERT_INLINE Lanes select_at_least(Lanes a, Lanes b, Lanes yes, Lanes no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ)),
          _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ))};
}
BITBERT_INLINE Lanes copy_sign(Lanes magnitude, Lanes sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.lo), _mm256_and_ps(bit, sign.lo)),
          _mm256_or_ps(_mm256_andnot_ps(bit, magnitude.hi), _mm256_and_ps(bit, sign.hi))};
}

BITBERT_INLINE Lanes rint(Lanes x) {
  return {_mm256_round_ps(x.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(x.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
BITBERT_INLINE IntLanes to_int(Lanes x) { return {_mm256_cvtps_epi32(x.lo), _mm256_cvtps_epi32(x.hi)}; }
BITBERT_INLINE Lanes to_float(IntLanes x) { return {_mm256_cvtepi32_ps(x.lo), _mm256_cvtepi32_ps(x.hi)}; }
BITBERT_INLINE IntLanes operator+(IntLanes a, IntLanes b) {
  return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
}
BITBERT_INLINE IntLanes operator-(IntLanes a, IntLanes b) {
  return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
BITBERT_INLINE IntLanes operator*(IntLanes a, IntLanes b) {
  return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
}

BITBERT_INLINE __m256 add_exponent(__m256 x, __m256i k) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(k, 23)));
}
BITBERT_INLINE Lanes add_exponent(Lanes x, Lanes k) {
  const IntLanes n = to_int(k);
  return {add_exponent(x.lo, n.lo), add_exponent(x.hi, n.hi)};
}

// Lane l += l + 8, then + 4, + 2, + 1.
BITBERT_INLINE float sum(Lanes x) {
  const __m256 eight = _mm256_add_ps(x.lo, x.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
BITBERT_INLINE float largest(Lanes x) {
  const __m256 eight = _mm256_max_ps(x.lo, x.hi);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
BITBERT_INLINE float smallest(Lanes x) {
  const Lanes zero = splat(0.0f);
  return -largest(zero - x);
}

}  // namespace
}  // namespace bitbert
