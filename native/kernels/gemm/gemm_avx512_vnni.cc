// gemm with AVX-512 VNNI: blocks of 12 rows by 2 panels.
//
// One vpdpbusd multiplies a group of one row, broadcast, with a group of one panel. It has 4 to 5 cycles of latency and
// runs up to twice a cycle, so at least 10 independent sums are wanted; 12 x 2 use 24 of 32 registers and leave room
// for two panels and the broadcasts, and make 14 loads serve 24 multiplications.
#include "kernels/lanes/avx512.h"
// Bodies on these registers:
#include "kernels/gemm/epilogue_lanes.h"
#include "kernels/gemm/unpacked.h"

namespace bitbert::avx512_vnni {
namespace {

constexpr int kMostRows = 12;

template <int kRows, int kPanels>
void multiply(const GemmInput& in, int first, const Panel* panels, const GemmOutput& out) {
  IntLanes sums[kRows][kPanels];
  unroll<kRows>([&](auto r) { unroll<kPanels>([&](auto p) { sums[r.value][p.value] = splat(0); }); });
  const uint8_t* rows = in.codes + first * in.stride;
  const int64_t bytes = int64_t{panels[0].groups} * kGroup;
  for (int64_t k = 0; k < bytes; k += kGroup) {
    __m512i weights[kPanels];
    unroll<kPanels>(
        [&](auto p) { weights[p.value] = _mm512_loadu_si512(panels[p.value].bytes() + k * kPanelColumns); });
    unroll<kRows>([&](auto r) {
      const __m512i codes = _mm512_set1_epi32(load_group(rows + r.value * in.stride + k));
      unroll<kPanels>([&](auto p) {
        __m512i& sum = sums[r.value][p.value].v;
        sum = _mm512_dpbusd_epi32(sum, codes, weights[p.value]);
      });
    });
  }
  IntLanes done[kRows][kPanels];
  unroll<kRows>([&](auto r) { unroll<kPanels>([&](auto p) { done[r.value][p.value] = sums[r.value][p.value]; }); });
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) finish(done[r][p], in, first + r, panels[p], out);
  }
}

template <int kRows>
struct OnePanel {
  static void run(const GemmInput& in, int first, const Panel* panels, const GemmOutput& out) {
    multiply<kRows, 1>(in, first, panels, out);
  }
};

template <int kRows>
struct TwoPanels {
  static void run(const GemmInput& in, int first, const Panel* panels, const GemmOutput& out) {
    multiply<kRows, 2>(in, first, panels, out);
  }
};

}  // namespace

void gemm(const GemmInput& in, const Panel* panels, int panel_count, const GemmOutput& out, std::byte* scratch) {
  for_unpacked<unpack>(panels, panel_count, scratch, [&](const Panel* pair, int count) {
    // Panels of one matrix have equal depth, except pruned ones.
    if (count == 2 && pair[0].groups == pair[1].groups) return for_row_blocks<TwoPanels, kMostRows>(in, pair, out);
    for (int p = 0; p < count; ++p) for_row_blocks<OnePanel, kMostRows>(in, pair + p, out);
  });
}

}  // namespace bitbert::avx512_vnni
