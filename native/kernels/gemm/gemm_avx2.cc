// gemm with AVX2: blocks of 4 rows by one panel, of 3 rows where weights are narrow.
//
// vpmaddubsw, which multiplies bytes, adds two products in 16 bits: 2 * 255 * 127 would saturate. So bytes are widened
// to 16 bits and multiplied by vpmaddwd, which adds in 32 bits. Half of the multiplications are saved (S. Winograd, "A
// new algorithm for inner product", 1968), as additions have more ports than multiplications:
//   x1 w1 + x2 w2 = (x1 + w2)(x2 + w1) - x1 x2 - w1 w2
// whose last two terms are summed once for each row and each column. All sums are modulo 2^32, so the difference is
// exact. Weights of up to 4 bits are bounded by 7: there the 16-bit sums of vpmaddubsw cannot saturate, and they are
// widened every few groups.
#include "kernels/lanes/avx2.h"
// Bodies on these registers:
#include "kernels/gemm/epilogue_lanes.h"
#include "kernels/gemm/unpacked.h"

namespace bitbert::avx2 {
namespace {

constexpr int kWideRows = 4;  // 4 x 2 sums, 4 of the panel, 2 codes and 2 of their sums fill the registers
constexpr int kNarrowRows = 3;
constexpr int kNarrowBound = 7;

// Groups that 16 bits hold: each adds two products of at most 255 * 7 to a lane.
constexpr int kNarrowGroups = 32767 / (2 * 255 * kNarrowBound);
static_assert(kNarrowGroups == 9);

BITBERT_INLINE const __m256i* group_of(const Panel& panel, int g) {
  return reinterpret_cast<const __m256i*>(panel.bytes() + int64_t{g} * kGroupBytes);
}

// Codes of four inner elements x1 x2 x3 x4, or the weights of a column, in 16 bits: x1 x3 in `even`, x2 x4 in `odd`.
struct Halves {
  __m256i even, odd;

  // x1 * x2 + x3 * x4.
  BITBERT_INLINE __m256i products() const { return _mm256_madd_epi16(even, odd); }
};

BITBERT_INLINE Halves split_codes(__m256i x) {
  return {_mm256_and_si256(x, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(x, 8)};
}

BITBERT_INLINE Halves split_weights(__m256i w) {
  return {_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
}

BITBERT_INLINE int32_t sum_of_lanes(__m256i v) {
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  sum = _mm_add_epi32(sum, _mm_srli_si128(sum, 8));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_srli_si128(sum, 4)));
}

// Rows of codes in 16 bits.
struct WideRows {
  const uint64_t* groups;   // [rows][stride] the even half of a group, then the odd one
  int64_t stride;           // groups in whole blocks
  const int32_t* products;  // [rows] x1 * x2 + x3 * x4, summed over the groups
};

// A panel in 16 bits.
struct WidePanel {
  const Panel& panel;
  const Halves* groups;  // [groups][2] of columns 0 to 7 and 8 to 15
  IntLanes products;     // of each column w1 * w2 + w3 * w4, summed over the groups
};

// Widens `groups` groups of a row to `out`, up to the end of the last block. Returns the sum of x1 * x2 + x3 * x4.
int32_t widen_row(const uint8_t* codes, int groups, uint64_t* out) {
  constexpr int kStep = sizeof(__m256i) / kGroup;
  const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i sum = _mm256_setzero_si256();
  for (int g = 0; g < groups; g += kStep) {
    const Halves x = split_codes(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + kGroup * g)));
    const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(groups - g), places);
    sum = _mm256_add_epi32(sum, _mm256_and_si256(x.products(), inside));
    const __m256i first = _mm256_unpacklo_epi32(x.even, x.odd), second = _mm256_unpackhi_epi32(x.even, x.odd);
    auto* pairs = reinterpret_cast<__m256i*>(out + g);  // unpacking works within 128 bits
    _mm256_storeu_si256(pairs, _mm256_permute2x128_si256(first, second, 0x20));
    _mm256_storeu_si256(pairs + 1, _mm256_permute2x128_si256(first, second, 0x31));
  }
  return sum_of_lanes(sum);
}

WidePanel widen_panel(const Panel& panel, Halves* out) {
  IntLanes products = splat(0);
  for (int g = 0; g < panel.groups; ++g) {
    const Halves lo = split_weights(_mm256_loadu_si256(group_of(panel, g)));
    const Halves hi = split_weights(_mm256_loadu_si256(group_of(panel, g) + 1));
    products = products + IntLanes{lo.products(), hi.products()};
    out[2 * g] = lo;
    out[2 * g + 1] = hi;
  }
  return {panel, out, products};
}

struct WideOperands {
  const WideRows& rows;
  const WidePanel& weights;
};

template <int kRows>
struct WideBlock {
  static void run(const GemmInput& in, int first, const WideOperands& wide, const GemmOutput& out) {
    const WideRows& rows = wide.rows;
    const WidePanel& weights = wide.weights;
    IntLanes sums[kRows];
    unroll<kRows>([&](auto r) { sums[r.value] = splat(0); });
    const uint64_t* codes = rows.groups + first * rows.stride;
    for (int g = 0; g < weights.panel.groups; ++g) {
      const Halves lo = weights.groups[2 * g], hi = weights.groups[2 * g + 1];
      unroll<kRows>([&](auto r) {
        const auto* group = reinterpret_cast<const uint8_t*>(codes + r.value * rows.stride + g);
        const Halves x = {_mm256_set1_epi32(load_group(group)), _mm256_set1_epi32(load_group(group + kGroup))};
        sums[r.value] = sums[r.value] + IntLanes{crossed(x, lo), crossed(x, hi)};
      });
    }
    unroll<kRows>([&](auto r) {
      const IntLanes known = splat(rows.products[first + r.value]) + weights.products;
      finish(sums[r.value] - known, in, first + r.value, weights.panel, out);
    });
  }

  // (x1 + w2)(x2 + w1) + (x3 + w4)(x4 + w3)
  static BITBERT_INLINE __m256i crossed(const Halves& x, const Halves& w) {
    return _mm256_madd_epi16(_mm256_add_epi16(x.even, w.odd), _mm256_add_epi16(x.odd, w.even));
  }
};

// The products of at most kWidenedRows rows with panels whose weights are not narrow. The rows are widened once.
class WideProduct {
 public:
  // `memory` lies behind what is unpacked, for panels of at most `blocks` blocks.
  WideProduct(const GemmInput& in, const GemmOutput& out, int blocks, std::byte* memory)
      : in_(in),
        out_(out),
        weights_(reinterpret_cast<Halves*>(memory)),
        products_(reinterpret_cast<int32_t*>(memory + int64_t{2} * kBlockBytes * blocks)),
        codes_(reinterpret_cast<uint64_t*>(products_ + kWidenedRows)) {}

  void run(const Panel& panel) {
    if (panel.groups != groups_) widen_rows(panel);
    for_row_blocks<WideBlock, kWideRows>(in_, WideOperands{rows_, widen_panel(panel, weights_)}, out_);
  }

 private:
  void widen_rows(const Panel& panel) {
    groups_ = panel.groups;
    rows_ = {codes_, int64_t{panel.blocks()} * (kBlockK / kGroup), products_};
    for (int r = 0; r < in_.rows; ++r) {
      products_[r] = widen_row(in_.codes + r * in_.stride, groups_, codes_ + r * rows_.stride);
    }
  }

  const GemmInput in_;
  const GemmOutput out_;
  Halves* weights_;
  int32_t* products_;
  uint64_t* codes_;
  int groups_ = -1;  // of the widened rows
  WideRows rows_{};
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

bool is_narrow(const Panel& panel) { return panel.max_code <= kNarrowBound; }

}  // namespace

void gemm(const GemmInput& all, const Panel* panels, int panel_count, const GemmOutput& output, std::byte* scratch) {
  int blocks = 0;       // of the deepest panel
  int most = all.rows;  // rows at once
  for (const Panel* panel = panels; panel < panels + panel_count; ++panel) {
    if (panel->blocks() > blocks) blocks = panel->blocks();
    if (!is_narrow(*panel)) most = kWidenedRows;
  }
  for (int row = 0; row < all.rows; row += most) {
    const GemmInput in = all.from(row, least(most, all.rows - row));
    const GemmOutput out = output.from(row);
    WideProduct wide(in, out, blocks, scratch + int64_t{kPanelsAtOnce} * kBlockBytes * blocks);
    for_unpacked<unpack>(panels, panel_count, scratch, [&](const Panel* pair, int count) {
      for (const Panel* panel = pair; panel < pair + count; ++panel) {
        if (is_narrow(*panel)) {
          for_row_blocks<NarrowBlock, kNarrowRows>(in, panel, out);
        } else {
          wide.run(*panel);
        }
      }
    });
  }
}

}  // namespace bitbert::avx2
