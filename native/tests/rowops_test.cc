// The row operations: every instruction set against the scalar one, at every size, and nothing touched beyond the row.
#include "kernels/rowops/rowops.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"

namespace bitbert::test {
namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

const Quantizer kQuantizers[] = {make_quantizer(0.03f, 128, 1, 255, 1), make_quantizer(0.02f, 77, 0, 255, 1),
                                 make_quantizer(0.2f, 0, -7, 7, 1),     make_quantizer(0.5f, 128, 127, 129, 2),
                                 make_quantizer(0.5f, 0, -1, 1, 2),     make_quantizer(1 / 255.0f, 0, 0, 255, 1)};

// x with some values that comparisons and rounding treat specially.
std::vector<float> with_odd_values(Random& random, int n) {
  const float odd[] = {0.0f, -0.0f, 0.015f, std::nanf(""), 1e-45f, std::numeric_limits<float>::infinity(), -3e38f};
  std::vector<float> x = random.floats(n);
  for (const float value : odd) x[random.integer(0, n - 1)] = value;
  return x;
}

void compare_quantize(const Kernels& fast, const Kernels& reference, Random& random, int n) {
  const std::vector<float> x = with_odd_values(random, n);
  std::vector<uint8_t> a(n), b(n);
  for (const Quantizer& quantizer : kQuantizers) {
    fast.quantize(x.data(), n, quantizer, a.data());
    reference.quantize(x.data(), n, quantizer, b.data());
    CHECK(a == b, fast.isa);
  }
  const std::vector<float> finite = random.floats(n);
  for (const bool symmetric : {true, false}) {
    const TokenScale s = fast.quantize_per_token(finite.data(), n, symmetric, symmetric ? 255 : 15, a.data());
    const TokenScale t = reference.quantize_per_token(finite.data(), n, symmetric, symmetric ? 255 : 15, b.data());
    CHECK(a == b && s.scale == t.scale && s.zero_point == t.zero_point, fast.isa);
  }
}

void compare_layer_norm(const Kernels& fast, const Kernels& reference, Random& random, int n) {
  const std::vector<float> x = random.floats(n), residual = random.floats(n);
  const std::vector<float> gamma = random.floats(n), beta = random.floats(n);
  const LayerNormParameters parameters = {gamma.data(), beta.data(), 1e-12f};
  for (const bool with_residual : {true, false}) {
    // The result takes the place of the residual stream, as in the encoder.
    std::vector<float> a = residual, b = residual;
    std::vector<uint8_t> codes(n), expected(n);
    const Quantizer& quantizer = kQuantizers[0];
    fast.layer_norm(x.data(), with_residual ? a.data() : nullptr, n, parameters, a.data(), &quantizer, codes.data());
    reference.layer_norm(x.data(), with_residual ? b.data() : nullptr, n, parameters, b.data(), nullptr, nullptr);
    reference.quantize(b.data(), n, quantizer, expected.data());
    CHECK(same_bits(a, b) && codes == expected, fast.isa);
  }
}

void compare_translate(const Kernels& fast, const Kernels& reference, Random& random, int n) {
  const std::vector<uint8_t> table = random.integers<uint8_t>(256, 0, 255);
  std::vector<uint8_t> a = random.integers<uint8_t>(n, 0, 255), b = a;
  fast.translate(a.data(), n, table.data());
  reference.translate(b.data(), n, table.data());
  CHECK(a == b, fast.isa);
}

void compare_softmax(const Kernels& fast, const Kernels& reference, Random& random, int n) {
  std::vector<float> a = random.floats(n, 4), b = a;
  std::vector<uint8_t> codes(n), expected(n);
  fast.softmax_quantize(a.data(), n, kQuantizers[5], codes.data());
  reference.softmax_quantize(b.data(), n, kQuantizers[5], expected.data());
  CHECK(codes == expected, fast.isa);
}

void compare_functions(const Kernels& fast, const Kernels& reference, Random& random, int n) {
  using enum Function;
  for (const Function function : {kExp, kErf, kTanh, kGelu, kGeluTanh, kRelu}) {
    std::vector<float> a = random.floats(n, 3);
    if (function == kExp) {
      for (float& v : a) v = -std::abs(v * 20);
    }
    std::vector<float> b = a;
    fast.apply(function, a.data(), n, a.data());
    reference.apply(function, b.data(), n, b.data());
    CHECK(same_bits(a, b), std::string(fast.isa) + " function " + std::to_string(static_cast<int>(function)));
  }
}

void compare_embed_and_dot(const Kernels& fast, const Kernels& reference, Random& random, int n) {
  const std::vector<int8_t> word = random.integers<int8_t>(n, -127, 127), type = random.integers<int8_t>(n, -7, 7);
  const std::vector<int8_t> position = random.integers<int8_t>(n, -1, 1);
  std::vector<float> a(n), b(n);
  fast.embed({word.data(), 0.01f}, {type.data(), 0.2f}, {position.data(), 0.7f}, n, a.data());
  reference.embed({word.data(), 0.01f}, {type.data(), 0.2f}, {position.data(), 0.7f}, n, b.data());
  CHECK(same_bits(a, b), fast.isa);
  const std::vector<float> x = random.floats(n);
  CHECK(fast.dot(a.data(), x.data(), n) == reference.dot(a.data(), x.data(), n), fast.isa);
}

}  // namespace
}  // namespace bitbert::test

int main() {
  using namespace bitbert::test;
  const bitbert::Kernels& reference = bitbert::find_kernels("scalar");
  for (const bitbert::Kernels* kernels : vector_kernels()) {
    Random random(1);
    for (const int n : kSizes) {
      compare_quantize(*kernels, reference, random, n);
      compare_layer_norm(*kernels, reference, random, n);
      compare_translate(*kernels, reference, random, n);
      compare_softmax(*kernels, reference, random, n);
      compare_functions(*kernels, reference, random, n);
      compare_embed_and_dot(*kernels, reference, random, n);
    }
  }
  return failures();
}
