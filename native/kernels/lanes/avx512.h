// Sixteen floats and sixteen int32 in AVX-512 registers: the vocabulary in which gemm's epilogue and the row operations
// are written once for all vector instruction sets (*_lanes.h). lanes/avx2.h has the same names. Everything has
// internal linkage, so that no other instruction set can end up calling this code.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define BITBERT_INLINE inline __attribute__((always_inline))

namespace bitbert {
namespace {

inline constexpr int kLanes = 16;

struct Lanes {
  __m512 v;
};
struct IntLanes {
  __m512i v;
};

BITBERT_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }

// Of n < 16 elements, missing ones are 0.
BITBERT_INLINE Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
BITBERT_INLINE Lanes load(const float* p, int n) {
  return n == kLanes ? load(p) : Lanes{_mm512_maskz_loadu_ps(first(n), p)};
}
BITBERT_INLINE IntLanes load(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
BITBERT_INLINE IntLanes load_codes(const int8_t* p, int n) {
  return {_mm512_cvtepi8_epi32(n == kLanes ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))
                                           : _mm_maskz_loadu_epi8(first(n), p))};
}

BITBERT_INLINE void store(float* p, Lanes x, int n) {
  if (n == kLanes) return _mm512_storeu_ps(p, x.v);
  _mm512_mask_storeu_ps(p, first(n), x.v);
}
BITBERT_INLINE void store(int32_t* p, IntLanes x, int n) { _mm512_mask_storeu_epi32(p, first(n), x.v); }
// The low byte of each.
BITBERT_INLINE void store_bytes(uint8_t* p, IntLanes x, int n) {
  const __m128i bytes = _mm512_cvtepi32_epi8(x.v);
  if (n == kLanes) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  _mm_mask_storeu_epi8(p, first(n), bytes);
}

BITBERT_INLINE Lanes splat(float x) { return {_mm512_set1_ps(x)}; }
BITBERT_INLINE IntLanes splat(int32_t x) { return {_mm512_set1_epi32(x)}; }
BITBERT_INLINE Lanes keep_first(Lanes x, int n) { return {_mm512_maskz_mov_ps(first(n), x.v)}; }

BITBERT_INLINE Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
BITBERT_INLINE Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
BITBERT_INLINE Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
BITBERT_INLINE Lanes operator/(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
BITBERT_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
BITBERT_INLINE Lanes max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }  // a > b ? a : b, also for NaN
BITBERT_INLINE Lanes min(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }  // a < b ? a : b

BITBERT_INLINE Lanes select_less(Lanes a, Lanes b, Lanes yes, Lanes no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
BITBERT_INLINE Lanes select_at_least(Lanes a, Lanes b, Lanes yes, Lanes no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ), no.v, yes.v)};
}
BITBERT_INLINE Lanes copy_sign(Lanes magnitude, Lanes sign) {
  const __m512 bit = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(bit, magnitude.v), _mm512_and_ps(bit, sign.v))};
}

BITBERT_INLINE Lanes rint(Lanes x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
BITBERT_INLINE IntLanes to_int(Lanes x) { return {_mm512_cvtps_epi32(x.v)}; }  // ties to even
BITBERT_INLINE Lanes to_float(IntLanes x) { return {_mm512_cvtepi32_ps(x.v)}; }
BITBERT_INLINE IntLanes operator+(IntLanes a, IntLanes b) { return {_mm512_add_epi32(a.v, b.v)}; }
BITBERT_INLINE IntLanes operator-(IntLanes a, IntLanes b) { return {_mm512_sub_epi32(a.v, b.v)}; }
BITBERT_INLINE IntLanes operator*(IntLanes a, IntLanes b) { return {_mm512_mullo_epi32(a.v, b.v)}; }

// x * 2^k by its exponent bits.
BITBERT_INLINE Lanes add_exponent(Lanes x, Lanes k) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x.v), _mm512_slli_epi32(to_int(k).v, 23)))};
}

// Lane l += l + 8, then + 4, + 2, + 1.
BITBERT_INLINE float sum(Lanes x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
BITBERT_INLINE float largest(Lanes x) { return _mm512_reduce_max_ps(x.v); }
BITBERT_INLINE float smallest(Lanes x) { return _mm512_reduce_min_ps(x.v); }

}  // namespace
}  // namespace bitbert
