#include "model/linear.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "kernels/pack/panels.h"

namespace bitbert {
namespace {

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
  const int32_t sum = std::accumulate(fields.begin(), fields.end(), int32_t{0});
  return range.low * static_cast<int32_t>(fields.size()) + range.step * sum;
}

// Turns the rows of a weight into panels, one row group after the other.
class PanelWriter {
 public:
  PanelWriter(const PackedWeight& weight, std::span<const float> bias, const LinearShape& shape,
              std::span<const int> inputs, int blocks, const Kernels& kernels)
      : weight_(weight),
        bias_(bias),
        inputs_(inputs),
        columns_(shape.columns),
        blocks_(blocks),
        kernels_(kernels),
        next_(weight.bytes.data()),
        row_(shape.columns),
        fields_(size_t{kGroupRows} * inputs.size()),
        tile_(size_t{kBlockBytes} * blocks) {}

  // Reads the rows of the next group. Those of a pruned one have no bytes, and stay 0 with scale and bias.
  ColumnData read(const RowGroup& group, int bits) {
    ColumnData column{};
    if (bits == 0) return column;
    const CodeRange range = code_range(bits, weight_.grid);
    for (int r = 0; r < group.count; ++r, next_ += row_bytes(bits, weight_.packing, columns_)) {
      const std::span<uint8_t> row(fields_.data() + r * inputs_.size(), inputs_.size());
      read_row(bits, row);
      column.scale[r] = weight_.row_scale[group.first + r];
      column.bias[r] = bias_[group.first + r];
      column.sums[r] = sum_of_codes(row, range);
    }
    return column;
  }

  // Writes what was read as a panel of stored_bits(bits): codes at 8 bits, else fields.
  void write(const RowGroup& group, int bits, uint8_t* out) {
    const int width = stored_bits(bits), k = static_cast<int>(inputs_.size());
    if (width == 8) {
      const int low = code_range(bits, weight_.grid).low;  // 8-bit grids have step 1
      for (uint8_t& field : fields_) field = static_cast<uint8_t>(field + low);
    }
    kernels_.tile_rows(fields_.data(), k, group.count, k, width == 8 ? out : tile_.data(), nullptr);
    if (width < 8) narrow_panel(tile_.data(), width, blocks_, out);
  }

 private:
  void read_row(int bits, std::span<uint8_t> row) {
    if (row.size() == row_.size()) return read_fields(weight_, bits, next_, row);
    read_fields(weight_, bits, next_, row_);
    for (size_t i = 0; i < row.size(); ++i) row[i] = row_[inputs_[i]];
  }

  const PackedWeight& weight_;
  std::span<const float> bias_;
  std::span<const int> inputs_;
  int columns_, blocks_;
  const Kernels& kernels_;
  const uint8_t* next_;
  std::vector<uint8_t> row_;     // all columns
  std::vector<uint8_t> fields_;  // of one row group
  std::vector<uint8_t> tile_;
};

}  // namespace

Linear::Linear(const PackedWeight& weight, const LinearShape& shape, std::span<const float> bias,
               const Kernels& kernels, Bump& bump)
    : name_(weight.name.substr(0, weight.name.rfind('.'))),
      rows_(shape.rows),
      inputs_(shape.inputs ? static_cast<int>(shape.inputs->size()) : shape.columns),
      blocks_((inputs_ + kBlockK - 1) / kBlockK) {
  std::vector<int> all(shape.columns);
  std::iota(all.begin(), all.end(), 0);
  const std::span<const int> inputs = shape.inputs.value_or(all);
  const std::vector<RowGroup> groups = row_groups(shape.rows, shape.span);
  check_weight(weight, groups, shape.columns);
  PanelWriter writer(weight, bias, shape, inputs, blocks_, kernels);
  for (size_t g = 0; g < groups.size(); ++g) {
    const int bits = weight.group_bits[g];
    if (bits == 0 && shape.outputs == Outputs::kKept) continue;
    const int column = computed();
    for (int r = 0; r < groups[g].count; ++r) outputs_.push_back(groups[g].first + r);
    ColumnData* data = bump.take<ColumnData>(1);
    uint8_t* stored = bump.take<uint8_t>(size_t{kBlockBytes} / 8 * stored_bits(bits) * blocks_);
    if (!data) continue;  // measuring
    *data = writer.read(groups[g], bits);
    if (bits > 0) writer.write(groups[g], bits, stored);
    panels_.push_back({stored, code_table(bits, weight.grid), stored_bits(bits),
                       bits == 0 ? 0 : (inputs_ + kGroup - 1) / kGroup, column, groups[g].count,
                       code_range(bits, weight.grid).high, data->sums, data->scale, data->bias});
  }
  const auto pruned = std::stable_partition(panels_.begin(), panels_.end(), [](const Panel& p) { return p.bits > 0; });
  live_ = pruned - panels_.begin();
  if (std::all_of(panels_.begin(), pruned, [](const Panel& p) { return p.bits == 1; })) bits_ = shape.bits;
}

Linear::Panels Linear::panels(Part part) const {
  const size_t pairs = (live_ + kPanelsAtOnce - 1) / kPanelsAtOnce;
  const auto start = [&](size_t index) { return std::min(live_, pairs * index / part.count * kPanelsAtOnce); };
  const bool last = part.index + 1 == part.count;  // the pruned ones cost next to nothing
  return {start(part.index), last ? panels_.size() : start(part.index + 1)};
}

Linear::Range Linear::range(Part part) const {
  const Panels range = panels(part);
  if (range.first == range.last) return {0, 0};
  const Panel& last = panels_[range.last - 1];
  return {panels_[range.first].column, last.column + last.count};
}

void Linear::run(const Kernels& kernels, const GemmInput& input, const GemmOutput& output, std::byte* scratch,
                 Part part) const {
  Panels range = panels(part);
  if (bits_ && kernels.gemm_bits) {
    const size_t last = std::min(range.last, live_);
    kernels.gemm_bits(input, *bits_, inputs_, panels_.data() + range.first, static_cast<int>(last - range.first),
                      output, scratch);
    range.first = last;
  }
  kernels.gemm(input, panels_.data() + range.first, static_cast<int>(range.last - range.first), output, scratch);
}

}  // namespace bitbert
