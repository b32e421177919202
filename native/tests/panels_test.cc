// The panel layout: tiling puts every code where gemm.h says, and unpack gives back what narrow_panel took.
#include "kernels/pack/panels.h"

#include "check.h"

namespace bitbert::test {
namespace {

void tile_both_ways(Random& random, const Kernels& kernels, int count, int k) {
  const int bytes = (k + 63) / 64 * 1024;
  const std::vector<uint8_t> rows = random.integers<uint8_t>(size_t(count) * k, 0, 255);
  std::vector<uint8_t> columns(size_t(k) * count), tile(bytes, 1), transposed(bytes, 1);
  std::vector<int32_t> sums(16, 1), expected_sums(16);
  for (int r = 0; r < count; ++r) {
    for (int i = 0; i < k; ++i) {
      columns[i * count + r] = rows[r * k + i];
      expected_sums[r] += static_cast<int8_t>(rows[r * k + i]);
    }
  }
  kernels.tile_rows(rows.data(), k, count, k, tile.data(), sums.data());
  kernels.tile_columns(columns.data(), count, count, k, transposed.data());
  const std::string where = std::string(kernels.isa) + " " + std::to_string(count) + " x " + std::to_string(k);
  CHECK(tile == transposed, where);
  CHECK(sums == expected_sums, where);
  for (int c = 0; c < 16; ++c) {
    for (int i = 0; i < bytes / 16; ++i) {
      const int expected = c < count && i < k ? rows[c * k + i] : 0;
      CHECK(tile[i / 4 * 64 + 4 * c + i % 4] == expected, where);
    }
  }
}

void narrow_and_unpack(Random& random, const Kernels& kernels, int bits, int blocks) {
  const std::vector<uint8_t> fields = random.integers<uint8_t>(size_t{1024} * blocks, 0, (1 << bits) - 1);
  const std::vector<int8_t> codes = random.integers<int8_t>(16, -128, 127);
  std::vector<uint8_t> narrow(size_t{128} * bits * blocks);
  std::vector<int8_t> out(fields.size());
  narrow_panel(fields.data(), bits, blocks, narrow.data());
  kernels.unpack({narrow.data(), bits, blocks, codes.data()}, out.data());
  bool same = true;
  for (size_t i = 0; i < out.size(); ++i) same &= out[i] == codes[fields[i]];
  CHECK(same, std::string(kernels.isa) + " bits " + std::to_string(bits));
}

}  // namespace
}  // namespace bitbert::test

int main() {
  using namespace bitbert::test;
  Random random(1);
  std::vector<const bitbert::Kernels*> all = vector_kernels();
  all.push_back(&bitbert::find_kernels("scalar"));
  for (const bitbert::Kernels* kernels : all) {
    for (int count = 1; count <= 16; ++count) {
      for (const int k : {1, 2, 3, 4, 5, 26, 61, 64, 67}) tile_both_ways(random, *kernels, count, k);
    }
    for (const int bits : {1, 2, 4}) {
      for (const int blocks : {1, 2, 5}) narrow_and_unpack(random, *kernels, bits, blocks);
    }
  }
  return failures();
}
