// gemm: every instruction set against the scalar one, on panels of any depth, width, number of bits and number.
#include "kernels/gemm/gemm.h"

#include <algorithm>

#include "check.h"
#include "model/arena.h"

namespace bitbert::test {
namespace {

constexpr int kBits[] = {8, 4, 2, 1};

// Panels of random weights of at most `bound`, each 8 bits or one other width, beside everything that a Panel points
// to.
struct Weights {
  Weights(Random& random, int count, int k, int bound, int bits)
      : blocks((k + kBlockK - 1) / kBlockK),
        codes(random.integers<int8_t>(16, -bound, bound)),
        sums(random.integers<int32_t>(16 * count, -1000, 1000)),
        scale(random.floats(16 * count, 0.01f)),
        bias(random.floats(16 * count)) {
    stored.reserve(count);
    for (int p = 0; p < count; ++p) {
      const int width = random.integer(1, 16), groups = random.integer(0, 5) == 0 ? 0 : (k + 3) / 4;
      const int panel_bits = random.integer(0, 3) == 0 ? 8 : bits;
      stored.push_back(panel_bits == 8 ? random.integers<uint8_t>(size_t{1024} * blocks, -bound, bound)
                                       : random.integers<uint8_t>(size_t{128} * panel_bits * blocks, 0, 255));
      panels.push_back({stored.back().data(), codes.data(), panel_bits, groups, columns, width, bound, &sums[16 * p],
                        &scale[16 * p], &bias[16 * p]});
      columns += width;
    }
  }

  int blocks;
  std::vector<int8_t> codes;
  std::vector<std::vector<uint8_t>> stored;
  std::vector<int32_t> sums;
  std::vector<float> scale, bias;
  std::vector<Panel> panels;
  int columns = 0;
};

template <class T>
std::vector<T> run(const Kernels& kernels, const GemmInput& in, const Weights& w, GemmOutputKind kind) {
  const int stride = w.columns + 3;  // what lies between the rows must stay as it is
  std::vector<T> out(size_t(in.rows) * stride, T(77));
  const Quantizer quantizer = make_quantizer(0.05f, 128, 1, 255, 1);
  Arena scratch;
  kernels.gemm(in, w.panels.data(), static_cast<int>(w.panels.size()), {kind, out.data(), stride, quantizer},
               scratch.reserve(gemm_scratch_bytes(w.blocks)));
  return out;
}

void compare(const Kernels& kernels, Random& random, int rows, int k, int count, int bound, int bits) {
  const Weights weights(random, count, k, bound, bits);
  const int stride = kBlockK * weights.blocks;
  std::vector<uint8_t> codes = random.integers<uint8_t>(size_t(stride) * (rows + kRowsAtOnce), 0, 255);
  for (int r = 0; r < rows; ++r) std::fill(&codes[r * stride + k], &codes[(r + 1) * stride], 0);
  const std::vector<float> scale = random.floats(rows, 0.1f);
  const std::vector<int32_t> zero_point = random.integers<int32_t>(rows, 0, 255);
  const GemmInput in = {codes.data(), stride, rows, scale.data(), zero_point.data()};
  const Kernels& reference = find_kernels("scalar");
  const std::string where = std::string(kernels.isa) + " rows " + std::to_string(rows) + " k " + std::to_string(k) +
                            " bits " + std::to_string(bits);
  using enum GemmOutputKind;
  CHECK(run<int32_t>(kernels, in, weights, kSums) == run<int32_t>(reference, in, weights, kSums), where);
  CHECK(run<float>(kernels, in, weights, kFloats) == run<float>(reference, in, weights, kFloats), where);
  CHECK(run<uint8_t>(kernels, in, weights, kCodes) == run<uint8_t>(reference, in, weights, kCodes), where);
}

}  // namespace
}  // namespace bitbert::test

int main() {
  using namespace bitbert::test;
  using bitbert::kWidenedRows;
  for (const bitbert::Kernels* kernels : vector_kernels()) {
    Random random(1);
    for (const int bound : {1, 3, 7, 127}) {
      for (const int bits : kBits) {
        for (const int k : kSizes)
          compare(*kernels, random, random.integer(1, 70), k, random.integer(1, 7), bound, bits);
      }
      for (int rows = 1; rows < 70; ++rows) compare(*kernels, random, rows, 40, 2, bound, 8);
      for (const int rows : {kWidenedRows, kWidenedRows + 1, 300}) compare(*kernels, random, rows, 40, 2, bound, 8);
    }
  }
  return failures();
}
