// The product of 1-bit activations and 1-bit weights by xor and popcount. With d the number of bits in which a row and
// a column differ, K products of signs add up to K - 2 d, and the weights of those inputs that are 1 instead of 0 to p
// - d, p being the number of weights that are 1.
//
// Weights are taken as they are stored. Bit s of byte 4 c + j of vector i of a panel is inner element 32 i + 4 s + j of
// column c (pack/unpack.h), so 32 elements of a row are put into the same order and go to all sixteen columns at once.
#include "kernels/lanes/avx512.h"
// Bodies on these registers:
#include "kernels/gemm/epilogue_lanes.h"

namespace bitbert::avx512_popcount {
namespace {

constexpr int kMostRows = 8;
constexpr int kMostBits = 256;  // rows whose bits are in scratch memory at a time
constexpr int kWord = 32;       // inner elements

struct BitRows {
  const uint32_t* words;  // [rows][stride]
  int64_t stride;
};

// 32 bits, set where the code is above `low`.
uint32_t pack_word(const uint8_t* codes, int32_t low) {
  const __m256i row = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  const uint32_t above = _mm256_cmpgt_epu8_mask(row, _mm256_set1_epi8(static_cast<char>(low)));
  uint32_t word = 0;
  for (int j = 0; j < kGroup; ++j) word |= _pext_u32(above, 0x11111111u << j) << (8 * j);
  return word;
}

BitRows pack_rows(const GemmInput& in, BitValues values, int blocks, uint32_t* words) {
  const int64_t stride = int64_t{blocks} * kBlockK / kWord;
  for (int r = 0; r < in.rows; ++r) {
    const int32_t low = values == BitValues::kSigns ? in.zero_point[r] : 0;
    for (int64_t i = 0; i < stride; ++i) words[r * stride + i] = pack_word(in.codes + r * in.stride + i * kWord, low);
  }
  return {words, stride};
}

// All that a block of rows is multiplied by.
struct Panels {
  const Panel* panels;
  BitRows bits;
  BitValues values;
  int depth;
};

// What finish takes: the sum of products of codes, from which it subtracts what the zero point adds.
IntLanes sum_of_codes(IntLanes different, const Panels& p, const Panel& panel, int32_t zero_point) {
  const IntLanes depth = splat(p.depth), sums = load(panel.sums);
  if (p.values == BitValues::kSigns) return depth - (different + different) + splat(zero_point) * sums;
  return IntLanes{_mm512_srai_epi32((sums + depth).v, 1)} - different;
}

template <int kRows, int kPanels>
void multiply(const GemmInput& in, int first, const Panels& p, const GemmOutput& out) {
  IntLanes different[kRows][kPanels];
  unroll<kRows>([&](auto r) { unroll<kPanels>([&](auto q) { different[r.value][q.value] = splat(0); }); });
  const uint32_t* rows = p.bits.words + first * p.bits.stride;
  for (int64_t i = 0; i < p.bits.stride; ++i) {
    __m512i weights[kPanels];
    unroll<kPanels>([&](auto q) {
      const auto* stored = static_cast<const uint8_t*>(p.panels[q.value].weights);
      weights[q.value] = _mm512_loadu_si512(stored + i * kGroupBytes);
    });
    unroll<kRows>([&](auto r) {
      const __m512i word = _mm512_set1_epi32(static_cast<int32_t>(rows[r.value * p.bits.stride + i]));
      unroll<kPanels>([&](auto q) {
        __m512i& sum = different[r.value][q.value].v;
        sum = _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(word, weights[q.value])));
      });
    });
  }
  IntLanes done[kRows][kPanels];
  unroll<kRows>(
      [&](auto r) { unroll<kPanels>([&](auto q) { done[r.value][q.value] = different[r.value][q.value]; }); });
  for (int r = 0; r < kRows; ++r) {
    for (int q = 0; q < kPanels; ++q) {
      const IntLanes sums = sum_of_codes(done[r][q], p, p.panels[q], in.zero_point[first + r]);
      finish(sums, in, first + r, p.panels[q], out);
    }
  }
}

template <int kRows>
struct OnePanel {
  static void run(const GemmInput& in, int first, const Panels& panels, const GemmOutput& out) {
    multiply<kRows, 1>(in, first, panels, out);
  }
};

template <int kRows>
struct TwoPanels {
  static void run(const GemmInput& in, int first, const Panels& panels, const GemmOutput& out) {
    multiply<kRows, 2>(in, first, panels, out);
  }
};

}  // namespace

void gemm_bits(const GemmInput& all, BitValues values, int depth, const Panel* panels, int panel_count,
               const GemmOutput& out, std::byte* scratch) {
  const int blocks = (depth + kBlockK - 1) / kBlockK;
  for (int first = 0; first < all.rows; first += kMostBits) {
    const GemmInput in = all.from(first, least(kMostBits, all.rows - first));
    const GemmOutput target = out.from(first);
    const BitRows bits = pack_rows(in, values, blocks, reinterpret_cast<uint32_t*>(scratch));
    for (int p = 0; p < panel_count; p += 2) {
      if (p + 1 < panel_count) {
        for_row_blocks<TwoPanels, kMostRows>(in, Panels{panels + p, bits, values, depth}, target);
      } else {
        for_row_blocks<OnePanel, kMostRows>(in, Panels{panels + p, bits, values, depth}, target);
      }
    }
  }
}

}  // namespace bitbert::avx512_popcount
