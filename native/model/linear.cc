#include "model/linear.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/pack/panels.h"

namespace bitbert {
namespace {

constexpr int kPanelsAtOnce = 2;  // what the widest kernels multiply together

// 3 bits fit in 4; wider than that are held as bytes.
int stored_bits(int bits) { return bits <= 2 ? bits : bits <= 4 ? 4 : 8; }

// The code of every field of up to 4 bits; fields beyond the grid do not occur.
struct CodeTable {
  alignas(16) std::array<int8_t, 16> codes{};
};

CodeTable make_table(int bits, Grid grid) {
  CodeTable table;
  const CodeRange range = code_range(bits, grid);
  for (int field = 0; field <= range.max_field(); ++field) table.codes[field] = range.low + range.step * field;
  return table;
}

const int8_t* code_table(int bits, Grid grid) {
  static const std::array<CodeTable, 4> mid_tread = {make_table(1, Grid::kMidTread), make_table(2, Grid::kMidTread),
                                                     make_table(3, Grid::kMidTread), make_table(4, Grid::kMidTread)};
  static const CodeTable mid_rise = make_table(2, Grid::kMidRise);
  return bits == 2 && grid == Grid::kMidRise ? mid_rise.codes.data() : mid_tread[bits - 1].codes.data();
}

// Per column: scale, bias and sum of its weights.
struct ColumnData {
  float scale[kPanelColumns];
  float bias[kPanelColumns];
  int32_t sums[kPanelColumns];
};

int32_t sum_of_codes(std::span<const uint8_t> fields, const CodeRange& range) {
  int32_t sum = 0;
  for (const uint8_t field : fields) sum += range.low + range.step * field;
  return sum;
}

}  // namespace

Linear::Linear(const PackedWeight& weight, int rows, int columns, int span, std::span<const float> bias, Bump& bump)
    : name_(weight.name.substr(0, weight.name.rfind('.'))),
      rows_(rows),
      columns_(columns),
      blocks_((columns + kBlockK - 1) / kBlockK) {
  const std::vector<RowGroup> groups = row_groups(rows, span);
  check_weight(weight, groups, columns);
  store(weight, groups, bias, bump);
}

void Linear::store(const PackedWeight& weight, std::span<const RowGroup> groups, std::span<const float> bias,
                   Bump& bump) {
  std::vector<uint8_t> fields(size_t{kGroupRows} * columns_), tile(size_t{kBlockBytes} * blocks_);
  const uint8_t* bytes = weight.bytes.data();
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto [first, count] = groups[g];
    const int bits = weight.group_bits[g], width = stored_bits(bits);
    ColumnData* column = bump.take<ColumnData>(1);
    uint8_t* stored = bump.take<uint8_t>(size_t{128} * width * blocks_);
    if (!column) continue;  // measuring

    *column = {};
    const CodeRange range = code_range(bits, weight.grid);
    for (int r = 0; r < count && bits > 0; ++r, bytes += row_bytes(bits, weight.packing, columns_)) {
      const std::span<uint8_t> row(fields.data() + r * columns_, columns_);
      read_fields(weight, bits, bytes, row);
      column->scale[r] = weight.row_scale[first + r];
      column->bias[r] = bias[first + r];
      column->sums[r] = sum_of_codes(row, range);
      if (width == 8) {
        for (uint8_t& field : row) field += range.low;
      }
    }
    if (width == 8) {
      tile_rows(fields.data(), columns_, count, columns_, kPanelColumns * blocks_, stored);
    } else if (width > 0) {
      tile_rows(fields.data(), columns_, count, columns_, kPanelColumns * blocks_, tile.data());
      narrow_panel(tile.data(), width, blocks_, stored);
    }

    StoredPanel panel{};
    panel.bits = width;
    panel.panel = {width == 8 ? reinterpret_cast<const int8_t*>(stored) : nullptr,
                   bits == 0 ? 0 : (columns_ + kGroup - 1) / kGroup,
                   first,
                   count,
                   range.high,
                   column->sums,
                   column->scale,
                   column->bias};
    if (width > 0 && width < 8) panel.packed = {stored, width, blocks_, code_table(bits, weight.grid)};
    panels_.push_back(panel);
  }
}

size_t Linear::scratch_bytes() const { return size_t{kPanelsAtOnce} * kBlockBytes * blocks_; }

void Linear::run(const Kernels& kernels, const GemmInput& input, const GemmOutput& output, int8_t* scratch) const {
  for (size_t first = 0; first < panels_.size(); first += kPanelsAtOnce) {
    Panel panels[kPanelsAtOnce];
    const int count = static_cast<int>(std::min<size_t>(kPanelsAtOnce, panels_.size() - first));
    for (int i = 0; i < count; ++i) {
      const StoredPanel& stored = panels_[first + i];
      panels[i] = stored.panel;
      if (stored.bits == 0 || stored.bits == 8) continue;
      int8_t* unpacked = scratch + int64_t{kBlockBytes} * blocks_ * i;
      kernels.unpack(stored.packed, unpacked);
      panels[i].weights = unpacked;
    }
    kernels.gemm(input, panels, count, output);
  }
}

}  // namespace bitbert
