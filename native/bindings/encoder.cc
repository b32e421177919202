// bitbert._native.Encoder.
#include "model/encoder.h"

#include "bindings/bindings.h"

namespace bitbert::bindings {
namespace {

template <class T>
T get(const nb::dict& config, const char* key, const char* expected) {
  if (!config.contains(key)) throw std::invalid_argument(std::string(key) + ": missing from the config");
  return as<T>(config[key], key, expected);
}

Output to_output(const std::string& name) {
  return choose<Output>(
      "output", name,
      {{"hidden", Output::kHidden}, {"pooled", Output::kPooled}, {"mean", Output::kMean}, {"logits", Output::kLogits}});
}

EncoderConfig to_config(const nb::dict& d) {
  const auto integer = [&](const char* key) { return get<int>(d, key, "an integer"); };
  EncoderConfig c{};
  c.hidden_size = integer("hidden_size");
  c.num_hidden_layers = integer("num_hidden_layers");
  c.num_attention_heads = integer("num_attention_heads");
  c.intermediate_size = integer("intermediate_size");
  c.vocab_size = integer("vocab_size");
  c.max_position_embeddings = integer("max_position_embeddings");
  c.type_vocab_size = integer("type_vocab_size");
  c.num_labels = integer("num_labels");
  c.layer_norm_eps = static_cast<float>(get<double>(d, "layer_norm_eps", "a float"));
  c.hidden_act = get<std::string>(d, "hidden_act", "a string");
  c.pooler = get<bool>(d, "pooler", "True or False");
  c.head = choose<Head>("head", get<std::string>(d, "head", "a string"),
                        {{"none", Head::kNone}, {"sequence", Head::kSequence}, {"token", Head::kToken}});
  return c;
}

nb::tuple to_tuple(const std::string& name, nb::handle value, size_t size, const char* expected) {
  nb::tuple tuple = as<nb::tuple>(value, name, expected);
  if (tuple.size() != size) throw std::invalid_argument(name + ": expected " + expected);
  return tuple;
}

ActivationScale to_activation(const std::string& name, nb::handle value) {
  constexpr const char* kExpected = "(scale, zero_point, low, high, step, kind)";
  const nb::tuple t = to_tuple(name, value, 6, kExpected);
  const auto integer = [&](int i) { return as<int>(t[i], name, kExpected); };
  const auto kind = choose<ActivationKind>(name, as<std::string>(t[5], name, kExpected),
                                           {{"static", ActivationKind::kStatic},
                                            {"per_token_symmetric", ActivationKind::kPerTokenSymmetric},
                                            {"per_token_asymmetric", ActivationKind::kPerTokenAsymmetric},
                                            {"float", ActivationKind::kFloat}});
  return {static_cast<float>(as<double>(t[0], name, kExpected)), integer(1), integer(2), integer(3), integer(4), kind};
}

EncoderSource to_source(const nb::dict& config, const nb::dict& weights, const nb::dict& activations,
                        const nb::dict& floats) {
  EncoderSource source;
  source.config = to_config(config);
  for (const auto [key, value] : weights) {
    const auto name = nb::cast<std::string>(key);
    source.weights.emplace(name, to_weight(name, value));
  }
  for (const auto [key, value] : activations) {
    const auto name = nb::cast<std::string>(key);
    source.activations.emplace(name, to_activation(name, value));
  }
  for (const auto [key, value] : floats) {
    const auto name = nb::cast<std::string>(key);
    source.floats.emplace(name, span_of(as<Tensor<float>>(value, name, "a contiguous float32 array")));
  }
  return source;
}

// The dictionaries hold the arrays while this runs.
void construct(Encoder* self, const nb::dict& config, const nb::dict& weights, const nb::dict& activations,
               const nb::dict& floats, const std::string& isa) {
  const EncoderSource source = to_source(config, weights, activations, floats);
  const nb::gil_scoped_release release;
  new (self) Encoder(source, isa);
}

nb::ndarray<nb::numpy, float> forward(Encoder& self, const Vector<int32_t>& ids, const Vector<int32_t>& token_types,
                                      const Vector<int64_t>& offsets, const std::string& output, int threads) {
  const Batch batch = {span_of(ids), span_of(token_types), span_of(offsets)};
  const Output kind = to_output(output);
  std::vector<float> out;
  {
    const nb::gil_scoped_release release;
    out = self.forward(batch, kind, threads);
  }
  const size_t columns = self.output_columns(kind);
  return to_numpy(std::move(out), {out.size() / columns, columns});
}

// Seconds of each operation, summed over threads, in `passes` forward passes.
nb::dict profile(Encoder& self, const Vector<int32_t>& ids, const Vector<int32_t>& token_types,
                 const Vector<int64_t>& offsets, const std::string& output, int threads, int passes) {
  const Batch batch = {span_of(ids), span_of(token_types), span_of(offsets)};
  const Output kind = to_output(output);
  Profile profile;
  {
    const nb::gil_scoped_release release;
    for (int i = 0; i < passes; ++i) self.forward(batch, kind, threads, &profile);
  }
  nb::dict seconds;
  for (size_t i = 0; i < kOperationNames.size(); ++i) {
    seconds[kOperationNames[i]] = static_cast<double>(profile.nanoseconds(i)) * 1e-9;
  }
  return seconds;
}

nb::dict trace(Encoder& self, const Vector<int32_t>& ids, const Vector<int32_t>& token_types) {
  nb::dict arrays;
  for (auto& [name, array] : self.trace(span_of(ids), span_of(token_types))) {
    const std::vector<size_t> shape(array.shape.begin(), array.shape.end());
    arrays[name.c_str()] =
        std::visit([&](auto data) { return nb::cast(to_numpy(std::move(data), shape)); }, array.data);
  }
  return arrays;
}

}  // namespace

PackedWeight to_weight(const std::string& name, nb::handle value) {
  constexpr const char* kExpected =
      "(packed uint8, bits uint8, scale float32, grid, packing), arrays 1-D and contiguous";
  const nb::tuple t = to_tuple(name, value, 5, kExpected);
  const auto grid = choose<Grid>(name, as<std::string>(t[3], name, kExpected),
                                 {{"mid_tread", Grid::kMidTread}, {"mid_rise", Grid::kMidRise}});
  const auto packing = choose<Packing>(name, as<std::string>(t[4], name, kExpected),
                                       {{"bits", Packing::kBits}, {"base3", Packing::kBase3}});
  return {name,
          span_of(as<Vector<uint8_t>>(t[0], name, kExpected)),
          span_of(as<Vector<uint8_t>>(t[1], name, kExpected)),
          span_of(as<Vector<float>>(t[2], name, kExpected)),
          grid,
          packing};
}

void register_encoder(nb::module_& m) {
  using namespace nb::literals;
  nb::class_<Encoder>(m, "Encoder")
      .def("__init__", &construct, "config"_a, "weights"_a, "activations"_a, "floats"_a, "isa"_a = "")
      .def("forward", &forward, "ids"_a.noconvert(), "token_types"_a.noconvert(), "offsets"_a.noconvert(), "output"_a,
           "threads"_a)
      .def("profile", &profile, "ids"_a.noconvert(), "token_types"_a.noconvert(), "offsets"_a.noconvert(), "output"_a,
           "threads"_a, "passes"_a)
      .def("trace", &trace, "ids"_a.noconvert(), "token_types"_a.noconvert())
      .def_prop_ro("isa", &Encoder::isa)
      .def_prop_ro("weight_bytes", &Encoder::weight_bytes);
}

}  // namespace bitbert::bindings
