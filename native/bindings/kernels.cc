// bitbert._native.kernels(isa): single operations of one instruction set, so that tests can compare them.
#include "kernels/kernels.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "bindings/bindings.h"
#include "cpu/dispatch.h"
#include "model/linear.h"

namespace bitbert::bindings {
namespace {

using Floats = std::vector<float>;
using QuantizerTuple = std::tuple<float, int, int, int, int>;  // scale, zero point, low, high, step

Quantizer to_quantizer(const QuantizerTuple& t) { return std::apply(make_quantizer, t); }

void check(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

int size_of(const Vector<float>& x) {
  check(x.size() > 0 && x.size() < (size_t{1} << 30), "expected at least one element");
  return static_cast<int>(x.size());
}

std::optional<BitValues> to_bit_values(const std::string& name) {
  if (name.empty()) return {};
  return choose<BitValues>("bits", name, {{"signs", BitValues::kSigns}, {"zero_one", BitValues::kZeroOne}});
}

// A linear layer and rows of codes to run it on, `stride` bytes apart.
class LinearCase {
 public:
  LinearCase(const Matrix<uint8_t>& codes, const Vector<int32_t>& zero_point, const Vector<float>& scale,
             nb::handle weight, const Vector<float>& bias, int span, int stride, const std::string& bits)
      : rows_(codes.shape(0)), zero_point_(zero_point), scale_(scale), stride_(stride) {
    const int columns = static_cast<int>(codes.shape(1)), outputs = static_cast<int>(bias.size());
    check(columns >= 1 && columns <= kMaxK && outputs >= 1 && span >= 1, "expected at least one row and column");
    check(stride >= (columns + kBlockK - 1) / kBlockK * kBlockK, "stride is less than the columns, rounded up to 64");
    check(zero_point.size() == rows_ && scale.size() == rows_, "expected a zero point and a scale for each row");
    const PackedWeight packed = to_weight("weight", weight);
    const auto build = [&](Bump& bump) {
      const LinearShape shape = {outputs, columns, span, {}, Outputs::kAll, to_bit_values(bits)};
      return Linear(packed, shape, span_of(bias), find_kernels("scalar"), bump);
    };
    Bump measure;
    build(measure);
    Bump bump(storage_.reserve(measure.used()));
    linear_ = build(bump);
    codes_.resize((rows_ + kRowsAtOnce) * stride + kBlockK);
    for (size_t r = 0; r < rows_; ++r) std::copy_n(codes.data() + r * columns, columns, &codes_[r * stride]);
  }

  template <class T>
  nb::ndarray<nb::numpy, T> run(const Kernels& kernels, GemmOutputKind kind, const Quantizer& quantizer) const {
    const size_t n = linear_.rows();
    std::vector<T> out(rows_ * n);
    Arena scratch;
    scratch.reserve(linear_.scratch_bytes());
    const GemmInput input = {codes_.data(), stride_, static_cast<int>(rows_), scale_.data(), zero_point_.data()};
    linear_.run(kernels, input, {kind, out.data(), static_cast<int64_t>(n), quantizer}, scratch.reserve(0));
    return to_numpy(std::move(out), {rows_, n});
  }

 private:
  size_t rows_;
  Vector<int32_t> zero_point_;
  Vector<float> scale_;
  int stride_;
  Arena storage_;
  Linear linear_;
  std::vector<uint8_t> codes_;
};

auto sums(const Kernels& k, const LinearCase& linear) { return linear.run<int32_t>(k, GemmOutputKind::kSums, {}); }

auto floats(const Kernels& k, const LinearCase& linear) { return linear.run<float>(k, GemmOutputKind::kFloats, {}); }

auto codes(const Kernels& k, const LinearCase& linear, const QuantizerTuple& quantizer) {
  return linear.run<uint8_t>(k, GemmOutputKind::kCodes, to_quantizer(quantizer));
}

auto quantize(const Kernels& k, const Vector<float>& x, const QuantizerTuple& quantizer) {
  std::vector<uint8_t> out(x.size());
  k.quantize(x.data(), size_of(x), to_quantizer(quantizer), out.data());
  return to_numpy(std::move(out), {x.size()});
}

auto quantize_per_token(const Kernels& k, const Vector<float>& x, bool symmetric, int high) {
  check(high > (symmetric ? 128 : 0) && high <= 255, "high is out of range");
  std::vector<uint8_t> out(x.size());
  const TokenScale token = k.quantize_per_token(x.data(), size_of(x), symmetric, high, out.data());
  return nb::make_tuple(to_numpy(std::move(out), {x.size()}), token.scale, token.zero_point);
}

auto layer_norm(const Kernels& k, const Vector<float>& x, const std::optional<Vector<float>>& residual,
                const Vector<float>& gamma, const Vector<float>& beta, float eps) {
  const bool fits = gamma.size() == x.size() && beta.size() == x.size() && (!residual || residual->size() == x.size());
  check(fits, "x, residual, gamma and beta must have one length");
  Floats out(x.size());
  k.layer_norm(x.data(), residual ? residual->data() : nullptr, size_of(x), {gamma.data(), beta.data(), eps},
               out.data(), nullptr, nullptr);
  return to_numpy(std::move(out), {x.size()});
}

// The same, and the codes of the result.
auto layer_norm_codes(const Kernels& k, const Vector<float>& x, const Vector<float>& gamma, const Vector<float>& beta,
                      float eps, const QuantizerTuple& quantizer) {
  check(gamma.size() == x.size() && beta.size() == x.size(), "x, gamma and beta must have one length");
  Floats out(x.size());
  std::vector<uint8_t> codes(x.size());
  const Quantizer q = to_quantizer(quantizer);
  k.layer_norm(x.data(), nullptr, size_of(x), {gamma.data(), beta.data(), eps}, out.data(), &q, codes.data());
  return nb::make_tuple(to_numpy(std::move(out), {x.size()}), to_numpy(std::move(codes), {x.size()}));
}

auto translate(const Kernels& k, const Vector<uint8_t>& codes, const Vector<uint8_t>& table) {
  check(table.size() == 256, "expected a table of 256 bytes");
  std::vector<uint8_t> out(codes.data(), codes.data() + codes.size());
  k.translate(out.data(), static_cast<int>(out.size()), table.data());
  return to_numpy(std::move(out), {codes.size()});
}

int64_t panel_bytes(size_t depth) { return static_cast<int64_t>((depth + kBlockK - 1) / kBlockK) * kBlockBytes; }

auto tile_rows(const Kernels& k, const Matrix<uint8_t>& rows) {
  const size_t count = rows.shape(0), depth = rows.shape(1);
  check(count >= 1 && count <= kPanelColumns && depth >= 1, "expected 1 to 16 rows");
  std::vector<uint8_t> panel(panel_bytes(depth));
  std::vector<int32_t> sums(kPanelColumns);
  k.tile_rows(rows.data(), static_cast<int64_t>(depth), static_cast<int>(count), static_cast<int>(depth), panel.data(),
              sums.data());
  const size_t size = panel.size();
  return nb::make_tuple(to_numpy(std::move(panel), {size}), to_numpy(std::move(sums), {size_t{kPanelColumns}}));
}

auto tile_columns(const Kernels& k, const Matrix<uint8_t>& rows) {
  const size_t depth = rows.shape(0), count = rows.shape(1);
  check(count >= 1 && count <= kPanelColumns && depth >= 1, "expected 1 to 16 columns");
  std::vector<uint8_t> panel(panel_bytes(depth));
  k.tile_columns(rows.data(), static_cast<int64_t>(count), static_cast<int>(count), static_cast<int>(depth),
                 panel.data());
  const size_t size = panel.size();
  return to_numpy(std::move(panel), {size});
}

auto softmax_quantize(const Kernels& k, const Vector<float>& scores, const QuantizerTuple& quantizer) {
  Floats copy(scores.data(), scores.data() + scores.size());
  std::vector<uint8_t> out(scores.size());
  k.softmax_quantize(copy.data(), size_of(scores), to_quantizer(quantizer), out.data());
  return to_numpy(std::move(out), {scores.size()});
}

float dot(const Kernels& k, const Vector<float>& x, const Vector<float>& y) {
  check(x.size() == y.size(), "x and y must have one length");
  return k.dot(x.data(), y.data(), size_of(x));
}

auto embed(const Kernels& k, const Matrix<int8_t>& codes, const std::tuple<float, float, float>& scales) {
  check(codes.shape(0) == 3, "expected three rows of codes");
  const size_t n = codes.shape(1);
  const auto [word, type, position] = scales;
  Floats out(n);
  const int8_t* rows = codes.data();
  k.embed({rows, word}, {rows + n, type}, {rows + 2 * n, position}, static_cast<int>(n), out.data());
  return to_numpy(std::move(out), {n});
}

auto unpack(const Kernels& k, const Vector<uint8_t>& fields, int bits, const Vector<int8_t>& codes) {
  check(bits == 1 || bits == 2 || bits == 4, "bits must be 1, 2 or 4");
  check(codes.size() == 16, "expected 16 codes");
  const size_t block = 128 * bits, blocks = fields.size() / block;
  check(fields.size() == blocks * block, "expected whole blocks of 128 * bits bytes");
  std::vector<int8_t> out(blocks * kBlockBytes);
  k.unpack({fields.data(), bits, static_cast<int>(blocks), codes.data()}, out.data());
  const size_t size = out.size();
  return to_numpy(std::move(out), {size});
}

template <Function kFunction>
auto apply(const Kernels& k, const Vector<float>& x) {
  Floats out(x.size());
  k.apply(kFunction, x.data(), size_of(x), out.data());
  return to_numpy(std::move(out), {x.size()});
}

}  // namespace

void register_kernels(nb::module_& m) {
  using namespace nb::literals;
  nb::class_<LinearCase>(m, "LinearCase")
      .def(nb::init<const Matrix<uint8_t>&, const Vector<int32_t>&, const Vector<float>&, nb::handle,
                    const Vector<float>&, int, int, const std::string&>(),
           "codes"_a.noconvert(), "zero_point"_a.noconvert(), "scale"_a.noconvert(), "weight"_a, "bias"_a.noconvert(),
           "span"_a, "stride"_a, "bits"_a = "");
  nb::class_<Kernels>(m, "Kernels")
      .def_ro("isa", &Kernels::isa)
      .def("sums", &sums, "linear"_a)
      .def("floats", &floats, "linear"_a)
      .def("codes", &codes, "linear"_a, "quantizer"_a)
      .def("quantize", &quantize, "x"_a.noconvert(), "quantizer"_a)
      .def("quantize_per_token", &quantize_per_token, "x"_a.noconvert(), "symmetric"_a, "high"_a)
      .def("layer_norm", &layer_norm, "x"_a.noconvert(), "residual"_a.none(), "gamma"_a.noconvert(),
           "beta"_a.noconvert(), "eps"_a)
      .def("layer_norm_codes", &layer_norm_codes, "x"_a.noconvert(), "gamma"_a.noconvert(), "beta"_a.noconvert(),
           "eps"_a, "quantizer"_a)
      .def("translate", &translate, "codes"_a.noconvert(), "table"_a.noconvert())
      .def("tile_rows", &tile_rows, "rows"_a.noconvert())
      .def("tile_columns", &tile_columns, "rows"_a.noconvert())
      .def("softmax_quantize", &softmax_quantize, "scores"_a.noconvert(), "quantizer"_a)
      .def("dot", &dot, "x"_a.noconvert(), "y"_a.noconvert())
      .def("embed", &embed, "codes"_a.noconvert(), "scales"_a)
      .def("unpack", &unpack, "fields"_a.noconvert(), "bits"_a, "codes"_a.noconvert())
      .def("exp", &apply<Function::kExp>, "x"_a.noconvert())
      .def("erf", &apply<Function::kErf>, "x"_a.noconvert())
      .def("tanh", &apply<Function::kTanh>, "x"_a.noconvert())
      .def("gelu", &apply<Function::kGelu>, "x"_a.noconvert())
      .def("gelu_tanh", &apply<Function::kGeluTanh>, "x"_a.noconvert())
      .def("relu", &apply<Function::kRelu>, "x"_a.noconvert());
  m.def("kernels", &find_kernels, "isa"_a = "", nb::rv_policy::reference);
}

}  // namespace bitbert::bindings
