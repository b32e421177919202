// gemm with AVX2: blocks of 3 rows by one panel.
//
// vpmaddubsw, which multiplies bytes, adds two products in 16 bits: 2 * 255 * 127 would saturate. So bytes are widened
// to 16 bits and multiplied by vpmaddwd, which adds in 32 bits and is exact. Weights of up to 4 bits are bounded by 7:
// there the 16-bit sums cannot saturate, twice as many products fit an instruction, and they are widened every few
// groups.
#include "kernels/lanes/avx2.h"
// Bodies on these registers:
#include "kernels/gemm/epilogue_lanes.h"
#include "kernels/gemm/unpacked.h"

namespace bitbert::avx2 {
namespace {

constexpr int kMostRows = 3;
constexpr int kNarrowBound = 7;

// Groups that 16 bits hold: each adds two products of at most 255 * 7 to a lane.
constexpr int kNarrowGroups = 32767 / (2 * 255 * kNarrowBound);
static_assert(kNarrowGroups == 9);

BITBERT_INLINE const __m256i* group_of(const Panel& panel, int g) {
  return reinterpret_cast<const __m256i*>(panel.bytes() + int64_t{g} * kGroupBytes);
}

// Sums of a row and panel by vpmaddwd: quarter q has columns 4 q .. 4 q + 3, each as two partial sums.
struct WideSums {
  __m256i quarters[4];

  BITBERT_INLINE IntLanes total() const {
    return {in_order(_mm256_hadd_epi32(quarters[0], quarters[1])),
            in_order(_mm256_hadd_epi32(quarters[2], quarters[3]))};
  }

  // Horizontal adding works within 128 bits and leaves columns 0 1 4 5 | 2 3 6 7.
  static BITBERT_INLINE __m256i in_order(__m256i x) { return _mm256_permute4x64_epi64(x, 0xd8); }
};

template <int kRows>
struct WideBlock {
  static void run(const GemmInput& in, int first, const Panel* panel, const GemmOutput& out) {
    WideSums sums[kRows];
    unroll<kRows>(
        [&](auto r) { unroll<4>([&](auto q) { sums[r.value].quarters[q.value] = _mm256_setzero_si256(); }); });
    const uint8_t* rows = in.codes + first * in.stride;
    for (int g = 0; g < panel->groups; ++g) {
      __m256i codes[kRows];
      unroll<kRows>([&](auto r) {
        codes[r.value] = _mm256_cvtepu8_epi16(_mm_set1_epi32(load_group(rows + r.value * in.stride + kGroup * g)));
      });
      const auto* weights = reinterpret_cast<const __m128i*>(group_of(*panel, g));
      unroll<4>([&](auto q) {
        const __m256i quarter = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights + q.value));
        unroll<kRows>([&](auto r) {
          __m256i& sum = sums[r.value].quarters[q.value];
          sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes[r.value], quarter));
        });
      });
    }
    unroll<kRows>([&](auto r) { finish(sums[r.value].total(), in, first + r.value, *panel, out); });
  }
};

// Adds pairs of 16-bit sums to the 32-bit ones.
BITBERT_INLINE __m256i widen(__m256i sum, __m256i narrow) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)));
}

template <int kRows>
struct NarrowBlock {
  static void run(const GemmInput& in, int first, const Panel* panel, const GemmOutput& out) {
    IntLanes sums[kRows];
    unroll<kRows>([&](auto r) { sums[r.value] = splat(0); });
    for (int g = 0; g < panel->groups; g += kNarrowGroups) {
      const int stop = g + kNarrowGroups < panel->groups ? g + kNarrowGroups : panel->groups;
      add_groups(in.codes + first * in.stride, in.stride, *panel, g, stop, sums);
    }
    unroll<kRows>([&](auto r) { finish(sums[r.value], in, first + r.value, *panel, out); });
  }

  // At most kNarrowGroups groups, in 16 bits, then added to the sums.
  static BITBERT_INLINE void add_groups(const uint8_t* rows, int64_t stride, const Panel& panel, int g, int stop,
                                        IntLanes (&sums)[kRows]) {
    IntLanes narrow[kRows];
    unroll<kRows>([&](auto r) { narrow[r.value] = splat(0); });
    for (; g < stop; ++g) {
      const __m256i lo = _mm256_loadu_si256(group_of(panel, g)), hi = _mm256_loadu_si256(group_of(panel, g) + 1);
      unroll<kRows>([&](auto r) {
        const __m256i codes = _mm256_set1_epi32(load_group(rows + r.value * stride + kGroup * g));
        IntLanes& sum = narrow[r.value];
        sum = {_mm256_add_epi16(sum.lo, _mm256_maddubs_epi16(codes, lo)),
               _mm256_add_epi16(sum.hi, _mm256_maddubs_epi16(codes, hi))};
      });
    }
    unroll<kRows>([&](auto r) {
      sums[r.value] = {widen(sums[r.value].lo, narrow[r.value].lo), widen(sums[r.value].hi, narrow[r.value].hi)};
    });
  }
};

}  // namespace

void gemm(const GemmInput& in, const Panel* panels, int panel_count, const GemmOutput& out, std::byte* scratch) {
  for_unpacked<unpack>(panels, panel_count, scratch, [&](const Panel* pair, int count) {
    for (const Panel* panel = pair; panel < pair + count; ++panel) {
      if (panel->max_code <= kNarrowBound) {
        for_row_blocks<NarrowBlock, kMostRows>(in, panel, out);
      } else {
        for_row_blocks<WideBlock, kMostRows>(in, panel, out);
      }
    }
  });
}

}  // namespace bitbert::avx2
