// The Python module bitbert._native. Thin: checks types, releases the GIL, calls the model. Stubs:
// src/bitbert/_native.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/bindings.h"
#include "cpu/dispatch.h"
#include "cpu/features.h"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.def("available_isas", &bitbert::available_isas);
  m.def("active_isa", &bitbert::active_isa);
  m.def("cpu_name", &bitbert::cpu_name);
  m.def("cpu_features", [] {
    nb::dict features;
    for (const auto& [name, value] : bitbert::cpu_features().list()) features[name.c_str()] = value;
    return features;
  });
  bitbert::bindings::register_encoder(m);
  bitbert::bindings::register_kernels(m);
}
