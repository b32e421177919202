// gemm with AVX2: blocks of 6 rows by one panel, of 3 rows where weights are narrow.
//
// vpmaddubsw, which multiplies bytes, adds two products in 16 bits: 2 * 255 * 127 would saturate. So bytes are widened
// to 16 bits and multiplied by vpmaddwd, which adds in 32 bits and is exact; a panel is widened once for all rows, a
// row once for each panel, so that the inner loop only loads, multiplies and adds. Weights of up to 4 bits are bounded
// by 7: there the 16-bit sums cannot saturate, twice as many products fit an instruction, and they are widened every
// few groups.
#include "kernels/lanes/avx2.h"
// Bodies on these registers:
#include "kernels/gemm/epilogue_lanes.h"
#include "kernels/gemm/unpacked.h"

namespace bitbert::avx2 {
namespace {

constexpr int kWideRows = 6;  // 6 x 2 sums leave 4 registers, for 2 of the panel, a broadcast and a product
constexpr int kNarrowRows = 3;
constexpr int kNarrowBound = 7;

// Groups that 16 bits hold: each adds two products of at most 255 * 7 to a lane.
constexpr int kNarrowGroups = 32767 / (2 * 255 * kNarrowBound);
static_assert(kNarrowGroups == 9);

BITBERT_INLINE const __m256i* group_of(const Panel& panel, int g) {
  return reinterpret_cast<const __m256i*>(panel.bytes() + int64_t{g} * kGroupBytes);
}

BITBERT_INLINE __m256i load_words(const int16_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// A panel with weights in 16 bits, pairs of inner elements inside: word 2 * c + j of the 32 of pair p is
// weight[c][2 * p + j].
struct WidePanel {
  const Panel& panel;
  const int16_t* words;  // [2 * groups][32]
};

constexpr int kPairWords = 2 * kPanelColumns;

// Eight columns of a group: columns 0 1 | 4 5 and 2 3 | 6 7 are widened, whose even and odd pairs come out in order.
BITBERT_INLINE void widen_columns(const __m128i* bytes, int16_t* out) {
  const __m128i low = _mm_loadu_si128(bytes), high = _mm_loadu_si128(bytes + 1);
  const __m256 outer = _mm256_castsi256_ps(_mm256_cvtepi8_epi16(_mm_unpacklo_epi64(low, high)));
  const __m256 inner = _mm256_castsi256_ps(_mm256_cvtepi8_epi16(_mm_unpackhi_epi64(low, high)));
  _mm256_storeu_ps(reinterpret_cast<float*>(out), _mm256_shuffle_ps(outer, inner, 0x88));
  _mm256_storeu_ps(reinterpret_cast<float*>(out + kPairWords), _mm256_shuffle_ps(outer, inner, 0xdd));
}

WidePanel widen_panel(const Panel& panel, int16_t* out) {
  for (int g = 0; g < panel.groups; ++g) {
    const auto* bytes = reinterpret_cast<const __m128i*>(group_of(panel, g));
    int16_t* words = out + int64_t{g} * 2 * kPairWords;
    widen_columns(bytes, words);
    widen_columns(bytes + 2, words + kPanelColumns);
  }
  return {panel, out};
}

template <int kRows>
struct WideBlock {
  static constexpr int kBlockGroups = kBlockK / kGroup;

  static void run(const GemmInput& in, int first, const WidePanel& weights, const GemmOutput& out) {
    IntLanes sums[kRows];
    unroll<kRows>([&](auto r) { sums[r.value] = splat(0); });
    const uint8_t* rows = in.codes + first * in.stride;
    for (int g = 0; g < weights.panel.groups; g += kBlockGroups) {
      alignas(32) int16_t codes[kRows][kBlockK];
      widen_codes(rows + g * kGroup, in.stride, codes);
      const int stop = least(weights.panel.groups - g, kBlockGroups);
      add_pairs(codes, weights.words + int64_t{g} * 2 * kPairWords, 2 * stop, sums);
    }
    unroll<kRows>([&](auto r) { finish(sums[r.value], in, first + r.value, weights.panel, out); });
  }

  static BITBERT_INLINE void widen_codes(const uint8_t* rows, int64_t stride, int16_t (&codes)[kRows][kBlockK]) {
    unroll<kRows>([&](auto r) {
      unroll<kBlockK / kPanelColumns>([&](auto i) {
        const auto* bytes = reinterpret_cast<const __m128i*>(rows + r.value * stride) + i.value;
        auto* words = reinterpret_cast<__m256i*>(codes[r.value]) + i.value;
        _mm256_store_si256(words, _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes)));
      });
    });
  }

  static BITBERT_INLINE void add_pairs(const int16_t (&codes)[kRows][kBlockK], const int16_t* words, int pairs,
                                       IntLanes (&sums)[kRows]) {
    for (int p = 0; p < pairs; ++p, words += kPairWords) {
      const __m256i lo = load_words(words), hi = load_words(words + kPanelColumns);
      unroll<kRows>([&](auto r) {
        const __m256i pair = _mm256_set1_epi32(load_group(reinterpret_cast<const uint8_t*>(codes[r.value] + 2 * p)));
        IntLanes& sum = sums[r.value];
        sum = {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(pair, lo)),
               _mm256_add_epi32(sum.hi, _mm256_madd_epi16(pair, hi))};
      });
    }
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
        for_row_blocks<NarrowBlock, kNarrowRows>(in, panel, out);
      } else {
        std::byte* behind = scratch + int64_t{kPanelsAtOnce} * kBlockBytes * panel->blocks();  // what is unpacked
        for_row_blocks<WideBlock, kWideRows>(in, widen_panel(*panel, reinterpret_cast<int16_t*>(behind)), out);
      }
    }
  });
}

}  // namespace bitbert::avx2
