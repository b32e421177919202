#include "model/packing.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace bitbert {
namespace {

[[noreturn]] void fail(const PackedWeight& weight, const std::string& what) {
  throw std::invalid_argument(weight.name + ": " + what);
}

// Fields that never straddle a byte.
template <int kBits>
void read_whole(const uint8_t* bytes, std::span<uint8_t> fields) {
  constexpr size_t kPerByte = 8 / kBits;
  constexpr unsigned kMask = (1 << kBits) - 1;
  const size_t whole = fields.size() / kPerByte;
  for (size_t i = 0; i < whole; ++i) {
    for (size_t j = 0; j < kPerByte; ++j) fields[i * kPerByte + j] = (bytes[i] >> (j * kBits)) & kMask;
  }
  for (size_t i = whole * kPerByte; i < fields.size(); ++i) {
    fields[i] = (bytes[whole] >> (i % kPerByte * kBits)) & kMask;
  }
}

void read_straddling(int bits, const uint8_t* bytes, std::span<uint8_t> fields) {
  const unsigned mask = (1u << bits) - 1;
  unsigned window = 0;
  int available = 0;
  for (uint8_t& field : fields) {
    if (available < bits) {
      window |= static_cast<unsigned>(*bytes++) << available;
      available += 8;
    }
    field = window & mask;
    window >>= bits;
    available -= bits;
  }
}

void read_base3(const uint8_t* bytes, std::span<uint8_t> fields) {
  constexpr size_t kDigits = 5;
  unsigned digits = 0;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i % kDigits == 0) digits = *bytes++;
    fields[i] = digits % 3;
    digits /= 3;
  }
}

size_t total_bytes(const PackedWeight& weight, std::span<const RowGroup> groups, int columns) {
  size_t total = 0;
  for (size_t g = 0; g < groups.size(); ++g) {
    total += groups[g].count * row_bytes(weight.group_bits[g], weight.packing, columns);
  }
  return total;
}

void check_scales(const PackedWeight& weight, std::span<const RowGroup> groups) {
  for (size_t g = 0; g < groups.size(); ++g) {
    if (weight.group_bits[g] == 0) continue;
    for (int r = groups[g].first; r < groups[g].first + groups[g].count; ++r) {
      const float scale = weight.row_scale[r];
      if (!std::isfinite(scale) || scale <= 0)
        fail(weight, "the scale of row " + std::to_string(r) + " is not positive");
    }
  }
}

std::string counts(size_t came, size_t expected, const char* what) {
  return std::to_string(came) + " " + what + ", expected " + std::to_string(expected);
}

}  // namespace

CodeRange code_range(int bits, Grid grid) {
  if (bits == 0) return {0, 0, 1};
  if (bits == 1 || (bits == 2 && grid == Grid::kMidRise)) return {1 - (1 << bits), (1 << bits) - 1, 2};
  const int top = (1 << (bits - 1)) - 1;
  return {-top, top, 1};
}

std::vector<RowGroup> row_groups(int rows, int span) {
  std::vector<RowGroup> groups;
  for (int begin = 0; begin < rows; begin += span) {
    const int end = std::min(begin + span, rows);
    for (int first = begin; first < end; first += kGroupRows) {
      groups.push_back({first, std::min(kGroupRows, end - first)});
    }
  }
  return groups;
}

void read_bits(int bits, const uint8_t* bytes, std::span<uint8_t> fields) {
  switch (bits) {
    case 0:
      return static_cast<void>(std::fill(fields.begin(), fields.end(), 0));
    case 1:
      return read_whole<1>(bytes, fields);
    case 2:
      return read_whole<2>(bytes, fields);
    case 4:
      return read_whole<4>(bytes, fields);
    case 8:
      return read_whole<8>(bytes, fields);
    default:
      return read_straddling(bits, bytes, fields);
  }
}

void write_bits(int bits, std::span<const uint8_t> fields, uint8_t* bytes) {
  unsigned window = 0;
  int used = 0;
  for (const uint8_t field : fields) {
    window |= static_cast<unsigned>(field) << used;
    used += bits;
    for (; used >= 8; used -= 8, window >>= 8) *bytes++ = window & 0xff;
  }
  if (used > 0) *bytes = window & 0xff;
}

size_t row_bytes(int bits, Packing packing, int columns) {
  const size_t n = columns;
  if (packing == Packing::kBase3) return bits == 0 ? 0 : (n + 4) / 5;
  return (n * bits + 7) / 8;
}

void check_weight(const PackedWeight& weight, std::span<const RowGroup> groups, int columns) {
  if (weight.group_bits.size() != groups.size()) {
    fail(weight, counts(weight.group_bits.size(), groups.size(), "widths of row groups"));
  }
  for (const int bits : weight.group_bits) {
    if (bits > kMaxBits) fail(weight, std::to_string(bits) + "-bit weights are not supported, expected 0 to 8");
    const bool ternary = weight.grid == Grid::kMidTread && (bits == 0 || bits == 2);
    if (weight.packing == Packing::kBase3 && !ternary) fail(weight, "base3 holds ternary codes only");
  }
  const size_t rows = groups.empty() ? 0 : groups.back().first + groups.back().count;
  if (weight.row_scale.size() != rows) fail(weight, counts(weight.row_scale.size(), rows, "scales"));
  const size_t bytes = total_bytes(weight, groups, columns);
  if (weight.bytes.size() != bytes) fail(weight, counts(weight.bytes.size(), bytes, "bytes of codes"));
  check_scales(weight, groups);
}

void read_fields(const PackedWeight& weight, int bits, const uint8_t* bytes, std::span<uint8_t> fields) {
  if (weight.packing == Packing::kBase3) {
    read_base3(bytes, fields);
  } else {
    read_bits(bits, bytes, fields);
  }
  const int top = code_range(bits, weight.grid).max_field();
  uint8_t largest = 0;
  for (const uint8_t field : fields) largest = std::max(largest, field);
  if (largest > top) fail(weight, "a code is outside the " + std::to_string(bits) + "-bit grid");
}

}  // namespace bitbert
