// gemm with AVX-512 VNNI: blocks of 12 rows by 2 panels.
//
// One vpdpbusd multiplies a group of one row, broadcast, with a group of one panel. It has 4 to 5 cycles of latency and
// runs up to twice a cycle, so at least 10 independent sums are wanted; 12 x 2 use 24 of 32 registers and leave room
// for two panels and the broadcasts, and make 14 loads serve 24 multiplications.
#include "kernels/lanes/avx512.h"
//
#include "kernels/gemm/epilogue_lanes.h"

namespace bitbert::avx512_vnni {
namespace {

constexpr int kMostRows = 12;

template <int kRows, int kPanels>
void multiply(const GemmInput& in, int first, const Panel* panels, const GemmOutput& out) {
  __m512i sums[kRows][kPanels];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) sums[r][p] = _mm512_setzero_si512();
  }
  const uint8_t* rows = in.codes + first * in.stride;
  const int groups = panels[0].groups;
  for (int g = 0; g < groups; ++g) {
    __m512i weights[kPanels];
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) weights[p] = _mm512_loadu_si512(panels[p].weights + int64_t{g} * kGroupBytes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512i codes = _mm512_set1_epi32(load_group(rows + r * in.stride + kGroup * g));
#pragma GCC unroll 2
      for (int p = 0; p < kPanels; ++p) sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], codes, weights[p]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int p = 0; p < kPanels; ++p) finish(IntLanes{sums[r][p]}, in, first + r, panels[p], out);
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

void gemm(const GemmInput& in, const Panel* panels, int panel_count, const GemmOutput& out) {
  for (const Panel* end = panels + panel_count; panels < end;) {
    // Panels of one matrix have equal depth, except pruned ones.
    if (panels + 1 < end && panels[0].groups == panels[1].groups) {
      for_row_blocks<TwoPanels, kMostRows>(in, panels, out);
      panels += 2;
    } else {
      for_row_blocks<OnePanel, kMostRows>(in, panels, out);
      panels += 1;
    }
  }
}

}  // namespace bitbert::avx512_vnni
