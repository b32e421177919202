#include "model/embedding.h"

#include <algorithm>

namespace bitbert {

EmbeddingTable::EmbeddingTable(const PackedWeight& weight, int rows, int columns, Bump& bump)
    : columns_(columns), grid_(weight.grid) {
  const std::vector<RowGroup> groups = row_groups(rows, rows);
  check_weight(weight, groups, columns);
  std::vector<uint8_t> fields(columns);
  const uint8_t* source = weight.bytes.data();
  for (int row = 0; row < rows; ++row) {
    const int bits = weight.group_bits[row / kGroupRows];
    uint8_t* stored = bump.take_packed(row_bytes(bits, Packing::kBits, columns));
    if (!stored) continue;  // measuring
    if (bits > 0) {
      read_fields(weight, bits, source, fields);
      write_bits(bits, fields, stored);
      source += row_bytes(bits, weight.packing, columns);
    }
    rows_.push_back({stored, bits > 0 ? weight.row_scale[row] : 0, bits});
  }
}

EmbeddingRow EmbeddingTable::look_up(int row, int8_t* codes) const {
  const Row& r = rows_[row];
  const std::span<uint8_t> fields(reinterpret_cast<uint8_t*>(codes), columns_);
  read_bits(r.bits, r.bytes, fields);
  const CodeRange range = code_range(r.bits, grid_);
  for (uint8_t& field : fields) field = static_cast<uint8_t>(range.low + range.step * field);
  return {codes, r.scale};
}

}  // namespace bitbert
