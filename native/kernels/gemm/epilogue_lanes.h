// What becomes of the sixteen sums of one row and one panel, and how rows are cut into blocks: the part of gemm that
// all vector instruction sets share. Include after lanes/<isa>.h.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/lanes/loop.h"
#include "kernels/rowops/quantize_lanes.h"

namespace bitbert {
namespace {

BITBERT_INLINE void finish(IntLanes products, const GemmInput& in, int row, const Panel& panel, const GemmOutput& out) {
  const IntLanes sums = products - splat(in.zero_point[row]) * load(panel.sums);
  const int64_t at = row * out.stride + panel.column;
  if (out.kind == GemmOutputKind::kSums) return store(static_cast<int32_t*>(out.data) + at, sums, panel.count);
  const Lanes scale = splat(in.scale[row]) * load(panel.scale);
  const Lanes y = fma(to_float(sums), scale, load(panel.bias));
  if (out.kind == GemmOutputKind::kFloats) return store(static_cast<float*>(out.data) + at, y, panel.count);
  store_codes(static_cast<uint8_t*>(out.data) + at, y, out.quantizer, panel.count);
}

// Four bytes of a row, as the multiply instructions want them broadcast.
BITBERT_INLINE int32_t load_group(const uint8_t* codes) {
  int32_t group;
  __builtin_memcpy(&group, codes, sizeof(group));
  return group;
}

// Calls Block<r>::run for the number of rows r, known at run time, 1 <= r <= kMost.
template <template <int> class Block, int kMost, class... Args>
void run_block(int rows, const Args&... args) {
  if (rows == kMost) return Block<kMost>::run(args...);
  if constexpr (kMost > 1) run_block<Block, kMost - 1>(rows, args...);
}

// Cuts the rows of `in` into blocks of at most kMost rows, as equal as can be, and runs Block on each.
template <template <int> class Block, int kMost, class Panels>
void for_row_blocks(const GemmInput& in, const Panels& panels, const GemmOutput& out) {
  const int blocks = (in.rows + kMost - 1) / kMost;
  for (int b = 0, row = 0; b < blocks; ++b) {
    const int rows = (in.rows - row) / (blocks - b);
    run_block<Block, kMost>(rows, in, row, panels, out);
    row += rows;
  }
}

}  // namespace
}  // namespace bitbert
