// Lays rows of codes out as the panels of gemm.h and narrows them to what unpack.h widens. Not a per-ISA kernel: the
// layout is the same for all of them.
#pragma once

#include <cstdint>

namespace bitbert {

// A panel of `count` matrix rows of k codes each; rows and inner elements that are missing become 0. out: [groups][64].
void tile_rows(const uint8_t* rows, int64_t stride, int count, int k, int groups, uint8_t* out);

// A panel whose `count` output columns are the first columns of `rows`, and whose inner dimension runs down the k rows.
void tile_columns(const uint8_t* rows, int64_t stride, int count, int k, int groups, uint8_t* out);

// A panel of 8-bit fields narrowed to 1, 2 or 4 bits each. out: [blocks][128 * bits].
void narrow_panel(const uint8_t* fields, int bits, int blocks, uint8_t* out);

}  // namespace bitbert
