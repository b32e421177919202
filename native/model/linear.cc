#include "model/linear.h"

#include <algorithm>
#include <array>

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

// Null where codes are held as bytes.
const int8_t* code_table(int bits, Grid grid) {
  static const std::array<CodeTable, 5> mid_tread = {make_table(0, Grid::kMidTread), make_table(1, Grid::kMidTread),
                                                     make_table(2, Grid::kMidTread), make_table(3, Grid::kMidTread),
                                                     make_table(4, Grid::kMidTread)};
  static const CodeTable mid_rise = make_table(2, Grid::kMidRise);
  if (bits > 4) return nullptr;
  return bits == 2 && grid == Grid::kMidRise ? mid_rise.codes.data() : mid_tread[bits].codes.data();
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

// Turns the rows of a weight into panels, one row group after the other.
class PanelWriter {
 public:
  PanelWriter(const PackedWeight& weight, std::span<const float> bias, int columns, int blocks)
      : weight_(weight),
        bias_(bias),
        columns_(columns),
        blocks_(blocks),
        next_(weight.bytes.data()),
        fields_(size_t{kGroupRows} * columns),
        tile_(size_t{kBlockBytes} * blocks) {}

  // Reads the rows of the next group. Those of a pruned one have no bytes, and stay 0 with scale and bias.
  ColumnData read(const RowGroup& group, int bits) {
    ColumnData column{};
    if (bits == 0) return column;
    const CodeRange range = code_range(bits, weight_.grid);
    for (int r = 0; r < group.count; ++r, next_ += row_bytes(bits, weight_.packing, columns_)) {
      const std::span<uint8_t> row(&fields_[size_t{1} * r * columns_], columns_);
      read_fields(weight_, bits, next_, row);
      column.scale[r] = weight_.row_scale[group.first + r];
      column.bias[r] = bias_[group.first + r];
      column.sums[r] = sum_of_codes(row, range);
    }
    return column;
  }

  // Writes what was read as a panel of stored_bits(bits): codes at 8 bits, else fields.
  void write(const RowGroup& group, int bits, uint8_t* out) {
    const int width = stored_bits(bits), groups = blocks_ * kBlockK / kGroup;
    if (width == 8) {
      const int low = code_range(bits, weight_.grid).low;  // 8-bit grids have step 1
      for (uint8_t& field : fields_) field = static_cast<uint8_t>(field + low);
    }
    tile_rows(fields_.data(), columns_, group.count, columns_, groups, width == 8 ? out : tile_.data());
    if (width < 8) narrow_panel(tile_.data(), width, blocks_, out);
  }

 private:
  const PackedWeight& weight_;
  std::span<const float> bias_;
  int columns_, blocks_;
  const uint8_t* next_;
  std::vector<uint8_t> fields_;  // of one row group
  std::vector<uint8_t> tile_;
};

}  // namespace

Linear::Linear(const PackedWeight& weight, int rows, int columns, int span, std::span<const float> bias, Bump& bump)
    : name_(weight.name.substr(0, weight.name.rfind('.'))),
      rows_(rows),
      columns_(columns),
      blocks_((columns + kBlockK - 1) / kBlockK) {
  const std::vector<RowGroup> groups = row_groups(rows, span);
  check_weight(weight, groups, columns);
  PanelWriter writer(weight, bias, columns, blocks_);
  for (size_t g = 0; g < groups.size(); ++g) {
    const int bits = weight.group_bits[g];
    ColumnData* column = bump.take<ColumnData>(1);
    uint8_t* stored = bump.take<uint8_t>(size_t{kBlockBytes} / 8 * stored_bits(bits) * blocks_);
    if (!column) continue;  // measuring
    *column = writer.read(groups[g], bits);
    if (bits > 0) writer.write(groups[g], bits, stored);
    const Panel panel = {reinterpret_cast<const int8_t*>(stored),
                         bits == 0 ? 0 : (columns + kGroup - 1) / kGroup,
                         groups[g].first,
                         groups[g].count,
                         code_range(bits, weight.grid).high,
                         column->sums,
                         column->scale,
                         column->bias};
    panels_.push_back({panel, stored_bits(bits), code_table(bits, weight.grid)});
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
      const auto* fields = reinterpret_cast<const uint8_t*>(stored.panel.weights);
      kernels.unpack({fields, stored.bits, blocks_, stored.codes}, unpacked);
      panels[i].weights = unpacked;
    }
    kernels.gemm(input, panels, count, output);
  }
}

}  // namespace bitbert
