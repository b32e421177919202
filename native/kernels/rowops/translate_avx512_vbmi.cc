// translate by vpermi2b, which looks 64 bytes up in a table of 128 at once; the top bit chooses between two such
// halves.
#include <immintrin.h>

#include "kernels/rowops/rowops.h"

namespace bitbert::avx512_vbmi {

void translate(uint8_t* codes, int n, const uint8_t* table) {
  const __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64);
  const __m512i c = _mm512_loadu_si512(table + 128), d = _mm512_loadu_si512(table + 192);
  for (int i = 0; i < n; i += 64) {
    const __mmask64 kept = n - i >= 64 ? ~uint64_t{0} : (uint64_t{1} << (n - i)) - 1;
    const __m512i x = _mm512_maskz_loadu_epi8(kept, codes + i);
    const __m512i low = _mm512_permutex2var_epi8(a, x, b), high = _mm512_permutex2var_epi8(c, x, d);
    _mm512_mask_storeu_epi8(codes + i, kept, _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high));
  }
}

}  // namespace bitbert::avx512_vbmi
