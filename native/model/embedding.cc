#include "model/embedding.h"

#include <algorithm>

namespace bitbert {

EmbeddingTable::EmbeddingTable(const PackedWeight& weight, int rows, int columns, Bump& bump)
    : columns_(columns), grid_(weight.grid), scale_(weight.row_scale.begin(), weight.row_scale.end()) {
  const std::vector<RowGroup> groups = row_groups(rows, rows);
  check_weight(weight, groups, columns);
  std::vector<uint8_t> fields(columns);
  const uint8_t* source = weight.bytes.data();
  for (size_t g = 0; g < groups.size(); ++g) {
    const int bits = weight.group_bits[g];
    const size_t size = row_bytes(bits, Packing::kBits, columns);
    uint8_t* stored = bump.take_packed(size * groups[g].count);
    if (!stored) continue;  // measuring
    groups_.push_back({stored, bits});
    for (int r = 0; r < groups[g].count && bits > 0; ++r) {
      const uint8_t* row = source + r * row_bytes(bits, weight.packing, columns);
      read_fields(weight, bits, row, fields);
      if (weight.packing == Packing::kBits) {
        std::copy_n(row, size, stored + r * size);
      } else {
        write_bits(bits, fields, stored + r * size);
      }
    }
    source += groups[g].count * row_bytes(bits, weight.packing, columns);
  }
}

EmbeddingRow EmbeddingTable::look_up(int row, int8_t* codes) const {
  const Group& group = groups_[row / kGroupRows];
  const std::span<uint8_t> fields(reinterpret_cast<uint8_t*>(codes), columns_);
  const size_t size = row_bytes(group.bits, Packing::kBits, columns_);
  read_bits(group.bits, group.bytes + row % kGroupRows * size, fields);
  const CodeRange range = code_range(group.bits, grid_);
  for (uint8_t& field : fields) field = static_cast<uint8_t>(range.low + range.step * field);
  return {codes, group.bits > 0 ? scale_[row] : 0};
}

}  // namespace bitbert
