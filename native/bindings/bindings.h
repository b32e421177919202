// What the binding files share: array types and conversions that name what was wrong. InstructionSetUnavailable reaches
// Python as RuntimeError, std::invalid_argument as ValueError.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "model/packing.h"

namespace bitbert::bindings {

namespace nb = nanobind;

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Tensor = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;

template <class T, class... Args>
std::span<const T> span_of(const nb::ndarray<const T, Args...>& array) {
  return {array.data(), array.size()};
}

// value as T, without conversion between array types; else std::invalid_argument, naming it.
template <class T>
T as(nb::handle value, const std::string& name, const char* expected) {
  T out;
  if (!nb::try_cast<T>(value, out, false)) throw std::invalid_argument(name + ": expected " + expected);
  return out;
}

// One of a few names, as the value that stands for it.
template <class T>
T choose(const std::string& what, const std::string& name, std::initializer_list<std::pair<const char*, T>> choices) {
  std::string allowed;
  for (const auto& [choice, value] : choices) {
    if (name == choice) return value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(choice);
  }
  throw std::invalid_argument(what + ": '" + name + "' is unknown, expected one of: " + allowed);
}

// A numpy array that owns `data`.
template <class T>
nb::ndarray<nb::numpy, T> to_numpy(std::vector<T> data, const std::vector<size_t>& shape) {
  auto* owned = new std::vector<T>(std::move(data));
  const nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return {owned->data(), shape.size(), shape.data(), owner};
}

// (packed bytes, bits per row group, scale per row, grid, packing). The arrays must outlive the result.
PackedWeight to_weight(const std::string& name, nb::handle value);

void register_encoder(nb::module_& m);
void register_kernels(nb::module_& m);

}  // namespace bitbert::bindings
