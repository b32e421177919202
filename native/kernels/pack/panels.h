// Lays rows of codes out as the panels of gemm.h, and narrows them to what unpack.h widens. Panels are whole blocks of
// 64 inner elements; what is missing is 0.
#pragma once

#include <cstdint>

namespace bitbert {

// A panel of `count` matrix rows of k codes each. out: [blocks][1024]. Where `sums` is not null, sums[r] is the sum of
// row r's signed codes, 0 of a missing row [16].
using TileRowsFn = void(const uint8_t* rows, int64_t stride, int count, int k, uint8_t* out, int32_t* sums);

// A panel whose `count` output columns are the first columns of `rows`, and whose inner dimension runs down the k rows.
using TileColumnsFn = void(const uint8_t* rows, int64_t stride, int count, int k, uint8_t* out);

namespace scalar {
TileRowsFn tile_rows;
TileColumnsFn tile_columns;
}  // namespace scalar
namespace avx2 {
TileRowsFn tile_rows;
TileColumnsFn tile_columns;
}  // namespace avx2

// A panel of 8-bit fields narrowed to 1, 2 or 4 bits each. out: [blocks][128 * bits].
void narrow_panel(const uint8_t* fields, int bits, int blocks, uint8_t* out);

}  // namespace bitbert
