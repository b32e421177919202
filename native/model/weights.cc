#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

namespace bitbert {
namespace {

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw std::invalid_argument(name + ": " + what);
}

void check_range(const char* name, int value, int low, int high) {
  if (value >= low && value <= high) return;
  fail(name,
       std::to_string(value) + " is out of range, expected " + std::to_string(low) + " to " + std::to_string(high));
}

void check_config(const EncoderConfig& c) {
  constexpr int kMaxLayers = 1024, kMaxRows = 1 << 24;
  check_range("hidden_size", c.hidden_size, 1, kMaxK);
  check_range("intermediate_size", c.intermediate_size, 1, kMaxK);
  check_range("num_hidden_layers", c.num_hidden_layers, 1, kMaxLayers);
  check_range("num_attention_heads", c.num_attention_heads, 1, c.hidden_size);
  check_range("vocab_size", c.vocab_size, 1, kMaxRows);
  check_range("max_position_embeddings", c.max_position_embeddings, 1, kMaxK);
  check_range("type_vocab_size", c.type_vocab_size, 1, kMaxK);
  if (c.hidden_size % c.num_attention_heads != 0) {
    fail("num_attention_heads", "hidden_size " + std::to_string(c.hidden_size) + " is not a multiple of " +
                                    std::to_string(c.num_attention_heads));
  }
  if (!std::isfinite(c.layer_norm_eps) || c.layer_norm_eps < 0)
    fail("layer_norm_eps", "must be finite and not negative");
  if (c.head != Head::kNone) check_range("num_labels", c.num_labels, 1, kMaxK);
  if (c.head == Head::kSequence && !c.pooler) fail("head", "a sequence head needs the pooler");
}

Function activation_function(const std::string& name) {
  if (name == "gelu") return Function::kGelu;
  if (name == "relu") return Function::kRelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Function::kGeluTanh;
  fail("hidden_act", "'" + name + "' is not supported, expected gelu, gelu_new, gelu_pytorch_tanh or relu");
}

// Which kinds of scale an activation may have.
enum class Allowed { kStaticOnly, kAnyScale, kStaticOrFloat };

// The codes an activation may have: unsigned bytes, or signed ones for keys and values.
enum class CodeType { kUnsigned, kSigned };

void check_grid(const std::string& name, const ActivationScale& a, CodeType type) {
  const int low = type == CodeType::kSigned ? -127 : 0, high = type == CodeType::kSigned ? 127 : 255;
  if (a.low < low || a.high > high || a.low >= a.high) {
    fail(name, "codes " + std::to_string(a.low) + " to " + std::to_string(a.high) + " do not fit a byte");
  }
  const bool zero_inside = a.zero_point >= a.low && a.zero_point <= a.high;
  if (!zero_inside) fail(name, "zero point " + std::to_string(a.zero_point) + " is not a code");
  const bool sign_grid = a.step == 2 && a.low == a.zero_point - 1 && a.high == a.zero_point + 1;
  if (a.step != 1 && !sign_grid) fail(name, "step must be 1, or 2 on the grid {-1, 1}");
}

void check_activation(const std::string& name, const ActivationScale& a, CodeType type) {
  switch (a.kind) {
    case ActivationKind::kFloat:
      return;
    case ActivationKind::kStatic:
      if (!std::isfinite(a.scale) || !std::isfinite(1 / a.scale) || a.scale <= 0)
        fail(name, "the scale is not positive");
      return check_grid(name, a, type);
    case ActivationKind::kPerTokenSymmetric:
      return check_range(name.c_str(), a.high, 129, 255);
    case ActivationKind::kPerTokenAsymmetric:
      return check_range(name.c_str(), a.high, 1, 255);
  }
}

bool is_allowed(ActivationKind kind, Allowed allowed) {
  if (kind == ActivationKind::kStatic) return true;
  return kind == ActivationKind::kFloat ? allowed == Allowed::kStaticOrFloat : allowed == Allowed::kAnyScale;
}

std::optional<BitValues> bit_values(const Activation& activation) {
  const Quantizer& q = activation.quantizer;
  if (!activation.is_static()) return {};
  if (q.sign) return BitValues::kSigns;
  const auto zero = static_cast<float>(q.zero_point);
  if (q.low + zero == 0 && q.high + zero == 1) return BitValues::kZeroOne;
  return {};
}

// Takes tensors out of a source by name, and knows at the end which nobody wanted.
class Reader {
 public:
  Reader(const EncoderSource& source, const Kernels& kernels, Bump& bump)
      : source_(source), kernels_(kernels), bump_(bump) {}

  EmbeddingTable embedding(const std::string& name, int rows) {
    return {weight(name), rows, source_.config.hidden_size, bump_};
  }

  Linear linear(const std::string& module, LinearShape shape, const Activation& input) {
    shape.bits = bit_values(input);
    return {weight(module + ".weight"), shape, floats(module + ".bias", shape.rows), kernels_, bump_};
  }

  LayerNorm layer_norm(const std::string& module) {
    const int n = source_.config.hidden_size;
    return {vector(module + ".weight", n), vector(module + ".bias", n), source_.config.layer_norm_eps};
  }

  Activation activation(const std::string& name, Allowed allowed, CodeType type = CodeType::kUnsigned) {
    const ActivationScale& a = take(source_.activations, name, "activation");
    if (!is_allowed(a.kind, allowed)) fail(name, "this kind of scale is not supported here");
    check_activation(name, a, type);
    Activation out{name, a.kind, {}, a.high};
    if (out.is_static()) out.quantizer = make_quantizer(a.scale, a.zero_point, a.low, a.high, a.step);
    return out;
  }

  std::vector<float> vector(const std::string& name, size_t n) {
    const std::span<const float> values = floats(name, n);
    return {values.begin(), values.end()};
  }

  bool has_float(const std::string& name) const { return source_.floats.contains(name); }

  void check_all_taken() const {
    check_taken(source_.weights);
    check_taken(source_.activations);
    check_taken(source_.floats);
  }

 private:
  template <class T>
  const T& take(const std::map<std::string, T>& tensors, const std::string& name, const char* what) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) fail(name, std::string("this ") + what + " is missing");
    taken_.insert(name);
    return found->second;
  }

  template <class T>
  void check_taken(const std::map<std::string, T>& tensors) const {
    for (const auto& [name, value] : tensors) {
      if (!taken_.contains(name)) fail(name, "the encoder has no such tensor");
    }
  }

  const PackedWeight& weight(const std::string& name) { return take(source_.weights, name, "weight"); }

  std::span<const float> floats(const std::string& name, size_t n) {
    const std::span<const float> values = take(source_.floats, name, "float tensor");
    if (values.size() != n) {
      fail(name, std::to_string(values.size()) + " values, expected " + std::to_string(n));
    }
    for (const float value : values) {
      if (!std::isfinite(value)) fail(name, "a value is not finite");
    }
    return values;
  }

  const EncoderSource& source_;
  const Kernels& kernels_;
  Bump& bump_;
  std::set<std::string> taken_;
};

ActivationTable make_table(const Kernels& kernels, Function function, const Activation& in, const Activation& out) {
  ActivationTable table;
  for (int code = 0; code < 256; ++code) {
    table.values[code] = in.quantizer.scale * static_cast<float>(code - in.quantizer.zero_point);
  }
  kernels.apply(function, table.values.data(), 256, table.values.data());
  if (out.is_static()) kernels.quantize(table.values.data(), 256, out.quantizer, table.codes.data());
  return table;
}

// Whether a pruned output, which is 0, stays without effect through these quantizers: whether 0 has a code, as it has
// everywhere but on the grid {-1, 1}.
Outputs left_by_pruning(std::initializer_list<const Activation*> activations) {
  for (const Activation* activation : activations) {
    if (activation->is_static() && activation->quantizer.sign) return Outputs::kAll;
  }
  return Outputs::kKept;
}

std::vector<HeadColumns> columns_of_heads(const std::vector<int>& rows, int heads, int head_dim) {
  std::vector<HeadColumns> columns;
  for (int head = 0, first = 0; head < heads; ++head) {
    const auto end = std::lower_bound(rows.begin(), rows.end(), (head + 1) * head_dim);
    const int last = static_cast<int>(end - rows.begin());
    columns.push_back({first, last - first});
    first = last;
  }
  return columns;
}

void read_attention(Reader& reader, const std::string& name, const EncoderConfig& c, EncoderLayer& layer) {
  const std::string self = name + ".attention.self", output = name + ".attention.output";
  const int h = c.hidden_size;
  layer.input = reader.activation(self + ".input", Allowed::kAnyScale);
  layer.query_output = reader.activation(self + ".query.output", Allowed::kStaticOnly);
  layer.key_output = reader.activation(self + ".key.output", Allowed::kStaticOnly, CodeType::kSigned);
  layer.value_output = reader.activation(self + ".value.output", Allowed::kStaticOnly, CodeType::kSigned);
  layer.probs = reader.activation(self + ".probs", Allowed::kStaticOnly);
  if (layer.probs.quantizer.zero_point != 0) fail(layer.probs.name, "probabilities have zero point 0");
  layer.query = reader.linear(self + ".query", {h, h, c.head_dim()}, layer.input);
  layer.key = reader.linear(self + ".key", {h, h, c.head_dim()}, layer.input);
  layer.attention_output_input = reader.activation(output + ".dense.input", Allowed::kAnyScale);
  const Outputs kept = left_by_pruning({&layer.value_output, &layer.attention_output_input});
  layer.value = reader.linear(self + ".value", {h, h, c.head_dim(), {}, kept}, layer.input);
  layer.value_columns = columns_of_heads(layer.value.outputs(), c.num_attention_heads, c.head_dim());
  layer.attention_output =
      reader.linear(output + ".dense", {h, h, h, layer.value.outputs()}, layer.attention_output_input);
  layer.attention_norm = reader.layer_norm(output + ".LayerNorm");
}

void read_feed_forward(Reader& reader, const std::string& name, const EncoderConfig& c, EncoderLayer& layer) {
  const int h = c.hidden_size, i = c.intermediate_size;
  layer.intermediate_input = reader.activation(name + ".intermediate.dense.input", Allowed::kAnyScale);
  layer.gelu_input = reader.activation(name + ".intermediate.intermediate_act_fn.input", Allowed::kStaticOrFloat);
  layer.output_input = reader.activation(name + ".output.dense.input", Allowed::kAnyScale);
  const Outputs kept = left_by_pruning({&layer.gelu_input, &layer.output_input});
  layer.intermediate = reader.linear(name + ".intermediate.dense", {i, h, i, {}, kept}, layer.intermediate_input);
  layer.output = reader.linear(name + ".output.dense", {h, i, h, layer.intermediate.outputs()}, layer.output_input);
  layer.output_norm = reader.layer_norm(name + ".output.LayerNorm");
}

void read_head(Reader& reader, const EncoderConfig& c, Weights& out) {
  if (c.pooler) {
    out.pooler_input = reader.activation("pooler.dense.input", Allowed::kAnyScale);
    out.pooler = reader.linear("pooler.dense", {c.hidden_size, c.hidden_size, c.hidden_size}, out.pooler_input);
  }
  if (c.head == Head::kNone) return;
  const std::string module = reader.has_float("qa_outputs.weight") ? "qa_outputs" : "classifier";
  out.head_weight = reader.vector(module + ".weight", size_t(c.num_labels) * c.hidden_size);
  out.head_bias = reader.vector(module + ".bias", c.num_labels);
}

void read_all(const EncoderSource& source, const Kernels& kernels, Bump& bump, Weights& out) {
  const EncoderConfig& c = source.config;
  Reader reader(source, kernels, bump);
  out.word = reader.embedding("embeddings.word_embeddings.weight", c.vocab_size);
  out.position = reader.embedding("embeddings.position_embeddings.weight", c.max_position_embeddings);
  out.token_type = reader.embedding("embeddings.token_type_embeddings.weight", c.type_vocab_size);
  out.embedding_norm = reader.layer_norm("embeddings.LayerNorm");
  out.layers.assign(c.num_hidden_layers, {});
  for (int i = 0; i < c.num_hidden_layers; ++i) {
    const std::string name = "encoder.layer." + std::to_string(i);
    read_attention(reader, name, c, out.layers[i]);
    read_feed_forward(reader, name, c, out.layers[i]);
  }
  read_head(reader, c, out);
  reader.check_all_taken();
}

}  // namespace

Weights build_weights(const EncoderSource& source, const Kernels& kernels) {
  check_config(source.config);
  Weights weights;
  weights.config = source.config;
  weights.hidden_act = activation_function(source.config.hidden_act);

  Bump measure;
  read_all(source, kernels, measure, weights);
  weights.bytes = measure.used();
  Bump storage(weights.storage.reserve(weights.bytes));
  read_all(source, kernels, storage, weights);

  for (EncoderLayer& layer : weights.layers) {
    if (layer.gelu_input.is_static()) {
      layer.gelu_table = make_table(kernels, weights.hidden_act, layer.gelu_input, layer.output_input);
    }
  }
  return weights;
}

}  // namespace bitbert
