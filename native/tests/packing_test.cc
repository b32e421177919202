// Packed rows: what write_bits writes read_fields reads, at every width; base3; and what is refused.
#include "model/packing.h"

#include <stdexcept>

#include "check.h"

namespace bitbert::test {
namespace {

PackedWeight weight_of(std::span<const uint8_t> bytes, Packing packing) {
  return {"w", bytes, {}, {}, Grid::kMidTread, packing};
}

void read_back(Random& random, int bits, int columns) {
  const CodeRange range = code_range(bits, Grid::kMidTread);
  const std::vector<uint8_t> fields = random.integers<uint8_t>(columns, 0, range.max_field());
  std::vector<uint8_t> bytes(row_bytes(bits, Packing::kBits, columns)), out(columns);
  write_bits(bits, fields, bytes.data());
  read_fields(weight_of(bytes, Packing::kBits), bits, bytes.data(), out);
  CHECK(fields == out, "bits " + std::to_string(bits) + " columns " + std::to_string(columns));
}

// The example of docs/format.md: fields 2 1 0 0 2.
void read_the_example() {
  const std::vector<uint8_t> expected = {2, 1, 0, 0, 2}, bits = {0x06, 0x02}, base3 = {0xa7};
  std::vector<uint8_t> out(5);
  read_fields(weight_of(bits, Packing::kBits), 2, bits.data(), out);
  CHECK(out == expected, "bits");
  read_fields(weight_of(base3, Packing::kBase3), 2, base3.data(), out);
  CHECK(out == expected, "base3");
}

void refuse_codes_off_the_grid() {
  const std::vector<uint8_t> bytes = {0x03};  // field 3; ternary has 0 to 2
  std::vector<uint8_t> out(4);
  bool refused = false;
  try {
    read_fields(weight_of(bytes, Packing::kBits), 2, bytes.data(), out);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused, "field 3 of a ternary row");
}

void list_row_groups() {
  const std::vector<RowGroup> groups = row_groups(52, 26);
  const int expected[][2] = {{0, 16}, {16, 10}, {26, 16}, {42, 10}};
  CHECK(groups.size() == 4, "heads of 26");
  for (size_t g = 0; g < groups.size(); ++g) {
    CHECK(groups[g].first == expected[g][0] && groups[g].count == expected[g][1], "heads of 26");
  }
}

}  // namespace
}  // namespace bitbert::test

int main() {
  using namespace bitbert::test;
  Random random(1);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int columns : kSizes) read_back(random, bits, columns);
  }
  read_the_example();
  refuse_codes_off_the_grid();
  list_row_groups();
  return failures();
}
