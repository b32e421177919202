// A small random encoder: the same bits from every instruction set, number of threads and batch; hostile input is
// refused.
#include "model/encoder.h"

#include <numeric>
#include <stdexcept>

#include "check.h"

namespace bitbert::test {
namespace {

// Tensors of a random encoder with heads of 26, so that row groups are short, and row groups of every width.
class RandomSource {
 public:
  explicit RandomSource(ActivationKind kind) : random_(1), kind_(kind) {
    source_.config = {52, 2, 2, 75, 31, 24, 2, 1e-12f, "gelu", true, Head::kSequence, 3};
    for (const char* part : {"word", "position", "token_type"}) {
      const int rows = part[0] == 'w' ? 31 : part[0] == 'p' ? 24 : 2;
      weight("embeddings." + std::string(part) + "_embeddings.weight", rows, 52, rows);
    }
    layer_norm("embeddings.LayerNorm");
    for (const char* layer : {"encoder.layer.0", "encoder.layer.1"}) add_layer(layer);
    linear("pooler.dense", 52, 52, 52);
    any_scale("pooler.dense.input");
    floats("classifier.weight", 3 * 52);
    floats("classifier.bias", 3);
  }

  const EncoderSource& source() const { return source_; }

 private:
  void add_layer(const std::string& name) {
    const std::string self = name + ".attention.self";
    for (const char* part : {"query", "key", "value"}) linear(self + "." + part, 52, 52, 26);
    any_scale(self + ".input");
    source_.activations[self + ".query.output"] = {0.03f, 100, 0, 255, 1, ActivationKind::kStatic};
    source_.activations[self + ".key.output"] = {0.03f, 0, -127, 127, 1, ActivationKind::kStatic};
    source_.activations[self + ".value.output"] = {0.5f, 0, -1, 1, 2, ActivationKind::kStatic};
    source_.activations[self + ".probs"] = {1 / 255.0f, 0, 0, 255, 1, ActivationKind::kStatic};
    linear(name + ".attention.output.dense", 52, 52, 52);
    linear(name + ".intermediate.dense", 75, 52, 75);
    linear(name + ".output.dense", 52, 75, 52);
    for (const char* part : {".attention.output", ".intermediate", ".output"}) any_scale(name + part + ".dense.input");
    source_.activations[name + ".intermediate.intermediate_act_fn.input"] = {0.05f, 128, 1, 255, 1, kind_};
    layer_norm(name + ".attention.output.LayerNorm");
    layer_norm(name + ".output.LayerNorm");
  }

  void any_scale(const std::string& name) {
    const ActivationKind kind = kind_ == ActivationKind::kFloat ? ActivationKind::kPerTokenAsymmetric : kind_;
    source_.activations[name] = {0.03f, 128, 1, 255, 1, kind};
  }

  void layer_norm(const std::string& name) {
    floats(name + ".weight", 52);
    floats(name + ".bias", 52);
  }

  void linear(const std::string& name, int rows, int columns, int span) {
    weight(name + ".weight", rows, columns, span);
    floats(name + ".bias", rows);
  }

  void floats(const std::string& name, int n) {
    float_storage_.push_back(random_.floats(n));
    source_.floats[name] = float_storage_.back();
  }

  void weight(const std::string& name, int rows, int columns, int span) {
    std::vector<uint8_t> bytes, bits;
    for (const RowGroup& group : row_groups(rows, span)) {
      bits.push_back(static_cast<uint8_t>(random_.integer(0, 8)));
      for (int r = 0; r < group.count; ++r) append_row(bytes, bits.back(), columns);
    }
    byte_storage_.push_back(bytes);
    byte_storage_.push_back(bits);
    float_storage_.push_back(std::vector<float>(rows, 0.01f));
    const std::span<const uint8_t> packed = byte_storage_[byte_storage_.size() - 2];
    source_.weights[name] = {name, packed, byte_storage_.back(), float_storage_.back(), Grid::kMidRise, Packing::kBits};
  }

  void append_row(std::vector<uint8_t>& bytes, int bits, int columns) {
    const int top = code_range(bits, Grid::kMidRise).max_field();
    const std::vector<uint8_t> fields = random_.integers<uint8_t>(columns, 0, top);
    const size_t at = bytes.size();
    bytes.resize(at + row_bytes(bits, Packing::kBits, columns));
    write_bits(bits, fields, bytes.data() + at);
  }

  Random random_;
  ActivationKind kind_;
  EncoderSource source_;
  std::vector<std::vector<uint8_t>> byte_storage_;
  std::vector<std::vector<float>> float_storage_;
};

struct Tokens {
  explicit Tokens(const std::vector<int>& lengths) {
    Random random(2);
    const int total = std::accumulate(lengths.begin(), lengths.end(), 0);
    ids = random.integers<int32_t>(total, 0, 30);
    types = random.integers<int32_t>(total, 0, 1);
    offsets.push_back(0);
    for (const int length : lengths) offsets.push_back(offsets.back() + length);
  }

  Batch batch() const { return {ids, types, offsets}; }

  std::vector<int32_t> ids, types;
  std::vector<int64_t> offsets;
};

void compare(ActivationKind kind) {
  const RandomSource random(kind);
  const Tokens tokens({5, 1, 24, 17, 3, 24, 24, 24, 9});
  Encoder reference(random.source(), "scalar");
  const std::vector<float> expected = reference.forward(tokens.batch(), Output::kHidden, 1);
  for (const Kernels* kernels : vector_kernels()) {
    Encoder encoder(random.source(), kernels->isa);
    for (const int threads : {1, 2, 3}) {
      CHECK(encoder.forward(tokens.batch(), Output::kHidden, threads) == expected, kernels->isa);
    }
    for (const Output output : {Output::kPooled, Output::kMean, Output::kLogits}) {
      CHECK(encoder.forward(tokens.batch(), output, 2) == reference.forward(tokens.batch(), output, 1), kernels->isa);
    }
    // So many tokens that groups of threads take blocks of their own: two blocks a thread, or two threads a block.
    const Tokens many(std::vector<int>(48, 24));
    const std::vector<float> all = encoder.forward(many.batch(), Output::kHidden, 1);
    for (const int threads : {2, 3, 4, 6}) {
      CHECK(encoder.forward(many.batch(), Output::kHidden, threads) == all, kernels->isa);
    }
    const Tokens one({17});
    Trace trace = encoder.trace(one.ids, one.types);
    const auto& logits = std::get<std::vector<float>>(trace["logits"].data);
    CHECK(logits == encoder.forward(one.batch(), Output::kLogits, 1), kernels->isa);
  }
}

bool refused(Encoder& encoder, const Tokens& tokens) {
  try {
    encoder.forward(tokens.batch(), Output::kLogits, 1);
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

void refuse_hostile_input() {
  const RandomSource random(ActivationKind::kStatic);
  Encoder encoder(random.source(), "scalar");
  const Tokens good({5, 3});
  CHECK(!refused(encoder, good), "good");
  Tokens bad = good;
  bad.ids[7] = 31;
  CHECK(refused(encoder, bad), "id");
  bad = good;
  bad.types.pop_back();
  CHECK(refused(encoder, bad), "types");
  bad = good;
  bad.offsets[1] = INT64_MIN;
  CHECK(refused(encoder, bad), "offsets");
  CHECK(refused(encoder, Tokens({25})), "length");
}

}  // namespace
}  // namespace bitbert::test

int main() {
  using namespace bitbert;
  for (const ActivationKind kind : {ActivationKind::kStatic, ActivationKind::kFloat}) test::compare(kind);
  test::refuse_hostile_input();
  return test::failures();
}
