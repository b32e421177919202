// gemm with AVX-VNNI: blocks of 6 rows by one panel, which is two registers wide.
//
// vpdpbusd has 4 to 5 cycles of latency and runs up to twice a cycle, so at least 10 independent sums are wanted; 6 x 2
// use 12 of 16 registers and leave room for the panel and a broadcast.
//
// CPUs with AVX-512 VNNI have the same instruction in another encoding: gemm_avx_vnni_evex.cc compiles this file for
// them, so that it can be tested there.
#include "kernels/lanes/avx2.h"
// Bodies on these registers:
#include "kernels/gemm/epilogue_lanes.h"
#include "kernels/gemm/unpacked.h"

#ifdef BITBERT_EVEX
#define BITBERT_ISA_NAMESPACE avx_vnni_evex
#define BITBERT_DPBUSD _mm256_dpbusd_epi32
#else
#define BITBERT_ISA_NAMESPACE avx_vnni
#define BITBERT_DPBUSD _mm256_dpbusd_avx_epi32
#endif

namespace bitbert::BITBERT_ISA_NAMESPACE {
namespace {

constexpr int kMostRows = 6;

template <int kRows>
struct Block {
  static void run(const GemmInput& in, int first, const Panel* panel, const GemmOutput& out) {
    IntLanes sums[kRows];
    unroll<kRows>([&](auto r) { sums[r.value] = splat(0); });
    const uint8_t* rows = in.codes + first * in.stride;
    for (int g = 0; g < panel->groups; ++g) {
      const auto* weights = reinterpret_cast<const __m256i*>(panel->bytes() + int64_t{g} * kGroupBytes);
      const __m256i lo = _mm256_loadu_si256(weights), hi = _mm256_loadu_si256(weights + 1);
      unroll<kRows>([&](auto r) {
        const __m256i codes = _mm256_set1_epi32(load_group(rows + r.value * in.stride + kGroup * g));
        IntLanes& sum = sums[r.value];
        sum = {BITBERT_DPBUSD(sum.lo, codes, lo), BITBERT_DPBUSD(sum.hi, codes, hi)};
      });
    }
    unroll<kRows>([&](auto r) { finish(sums[r.value], in, first + r.value, *panel, out); });
  }
};

}  // namespace

void gemm(const GemmInput& in, const Panel* panels, int panel_count, const GemmOutput& out, std::byte* scratch) {
  for_unpacked<avx2::unpack>(panels, panel_count, scratch, [&](const Panel* pair, int count) {
    for (int p = 0; p < count; ++p) for_row_blocks<Block, kMostRows>(in, pair + p, out);
  });
}

}  // namespace bitbert::BITBERT_ISA_NAMESPACE
