// The tiles of tiles_amx.h in memory, for CPUs without AMX, so that what is built on them can be tested there.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace bitbert {
namespace {

class Tiles {
 public:
  template <int kTile>
  void zero() {
    std::memset(tiles_[kTile], 0, sizeof(tiles_[kTile]));
  }
  template <int kTile>
  void load(const void* rows, int64_t stride) {
    for (int r = 0; r < kRows; ++r) std::memcpy(tiles_[kTile][r], static_cast<const char*>(rows) + r * stride, kBytes);
  }
  template <int kTile>
  void store(void* rows, int64_t stride) {
    for (int r = 0; r < kRows; ++r) std::memcpy(static_cast<char*>(rows) + r * stride, tiles_[kTile][r], kBytes);
  }
  template <int kSums, int kCodes, int kWeights>
  void multiply() {
    for (int r = 0; r < kRows; ++r) {
      __m512i sum = _mm512_load_si512(tiles_[kSums][r]);
      for (int g = 0; g < kRows; ++g) {
        const __m512i codes = _mm512_set1_epi32(tiles_[kCodes][r][g]);
        sum = _mm512_dpbusd_epi32(sum, codes, _mm512_load_si512(tiles_[kWeights][g]));
      }
      _mm512_store_si512(tiles_[kSums][r], sum);
    }
  }

 private:
  static constexpr int kRows = 16, kBytes = 64;
  alignas(64) int32_t tiles_[8][kRows][kBytes / sizeof(int32_t)];
};

}  // namespace
}  // namespace bitbert
