// What a traced forward leaves behind: a copy of every intermediate, by name, for tests. Not on the fast path.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace bitbert {

struct TraceArray {
  std::vector<int64_t> shape;
  std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<int32_t>, std::vector<float>> data;
};

using Trace = std::map<std::string, TraceArray>;

// Appends rows [rows][columns] of a matrix whose rows are `stride` elements apart.
template <class T>
void record(Trace& trace, const std::string& name, const T* data, int64_t rows, int64_t columns, int64_t stride) {
  std::vector<T> copy(rows * columns);
  for (int64_t r = 0; r < rows; ++r) std::memcpy(&copy[r * columns], data + r * stride, columns * sizeof(T));
  trace[name] = {{rows, columns}, std::move(copy)};
}

}  // namespace bitbert
