// Packed codes as docs/format.md puts them on disk: widths, row groups and the fields of a row.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace bitbert {

inline constexpr int kMaxBits = 8;
inline constexpr int kGroupRows = 16;

enum class Grid { kMidTread, kMidRise };
enum class Packing { kBits, kBase3 };

// Codes low, low + step, .. high; code = low + step * field.
struct CodeRange {
  int low, high, step;
  int max_field() const { return (high - low) / step; }
};

CodeRange code_range(int bits, Grid grid);

struct RowGroup {
  int first, count;
};

// Groups of 16 rows that start anew every `span` rows (the head dimension of Q, K and V, else all rows).
std::vector<RowGroup> row_groups(int rows, int span);

// One weight as it came from the file. The spans need to live only while the engine is built.
struct PackedWeight {
  std::string name;
  std::span<const uint8_t> bytes;
  std::span<const uint8_t> group_bits;  // one width per row group
  std::span<const float> row_scale;     // one scale per row
  Grid grid;
  Packing packing;
};

size_t row_bytes(int bits, Packing packing, int columns);

// Throws std::invalid_argument, naming the tensor, unless widths, sizes and scales fit a matrix of these row groups.
void check_weight(const PackedWeight& weight, std::span<const RowGroup> groups, int columns);

// Fields of `bits` each, the first in the lowest bits of the first byte; 0 bits read as 0.
void read_bits(int bits, const uint8_t* bytes, std::span<uint8_t> fields);
void write_bits(int bits, std::span<const uint8_t> fields, uint8_t* bytes);

// The fields of one row, one byte each. Throws std::invalid_argument, naming the tensor, for a field outside the
// grid.
void read_fields(const PackedWeight& weight, int bits, const uint8_t* bytes, std::span<uint8_t> fields);

}  // namespace bitbert
