// gemm: every instruction set against the scalar one, on panels of any depth, width and number.
#include "kernels/gemm/gemm.h"

#include "check.h"

namespace bitbert::test {
namespace {

// Panels on random weights of at most `bound`, beside everything that a Panel points to.
struct Weights {
  Weights(Random& random, int count, int groups, int bound)
      : codes(random.integers<int8_t>(size_t{64} * groups * count, -bound, bound)),
        sums(random.integers<int32_t>(16 * count, -1000, 1000)),
        scale(random.floats(16 * count, 0.01f)),
        bias(random.floats(16 * count)) {
    for (int p = 0; p < count; ++p) {
      const int width = random.integer(1, 16);
      panels.push_back({codes.data() + int64_t{64} * groups * p, random.integer(0, 5) == 0 ? 0 : groups, columns, width,
                        bound, &sums[16 * p], &scale[16 * p], &bias[16 * p]});
      columns += width;
    }
  }

  std::vector<int8_t> codes;
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
  kernels.gemm(in, w.panels.data(), static_cast<int>(w.panels.size()), {kind, out.data(), stride, quantizer});
  return out;
}

void compare(const Kernels& kernels, Random& random, int rows, int k, int count, int bound) {
  const int groups = (k + 3) / 4;
  const Weights weights(random, count, groups, bound);
  const std::vector<uint8_t> codes = random.integers<uint8_t>(size_t{4} * groups * rows, 0, 255);
  const std::vector<float> scale = random.floats(rows, 0.1f);
  const std::vector<int32_t> zero_point = random.integers<int32_t>(rows, 0, 255);
  const GemmInput in = {codes.data(), 4 * groups, rows, scale.data(), zero_point.data()};
  const Kernels& reference = find_kernels("scalar");
  const std::string where = std::string(kernels.isa) + " rows " + std::to_string(rows) + " k " + std::to_string(k);
  using enum GemmOutputKind;
  CHECK(run<int32_t>(kernels, in, weights, kSums) == run<int32_t>(reference, in, weights, kSums), where);
  CHECK(run<float>(kernels, in, weights, kFloats) == run<float>(reference, in, weights, kFloats), where);
  CHECK(run<uint8_t>(kernels, in, weights, kCodes) == run<uint8_t>(reference, in, weights, kCodes), where);
}

}  // namespace
}  // namespace bitbert::test

int main() {
  using namespace bitbert::test;
  for (const bitbert::Kernels* kernels : vector_kernels()) {
    Random random(1);
    for (const int bound : {1, 3, 7, 127}) {
      for (const int k : kSizes) compare(*kernels, random, random.integer(1, 30), k, random.integer(1, 5), bound);
      for (int rows = 1; rows < 30; ++rows) compare(*kernels, random, rows, 40, 2, bound);
    }
  }
  return failures();
}
