// A test is a main() that runs CHECKs and returns failures(). Buffers are as small as the contracts allow, so that a
// sanitizer sees any element too many.
#pragma once

#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "cpu/dispatch.h"

namespace bitbert::test {

inline int& failures() {
  static int count = 0;
  return count;
}

inline void check(bool ok, const char* condition, const std::string& where, const char* file, int line) {
  if (ok) return;
  std::fprintf(stderr, "%s:%d: %s failed (%s)\n", file, line, condition, where.c_str());
  ++failures();
}

// `where` says which of many cases it was.
#define CHECK(condition, where) ::bitbert::test::check((condition), #condition, (where), __FILE__, __LINE__)

// Every table of kernels that can run here but the scalar one.
inline std::vector<const Kernels*> vector_kernels() {
  std::vector<const Kernels*> all;
  for (const char* isa : {"avx2", "avx_vnni", "avx_vnni_evex", "avx512_vnni", "amx_emulated", "amx"}) {
    try {
      all.push_back(&find_kernels(isa));
    } catch (const InstructionSetUnavailable&) {
    }
  }
  return all;
}

inline const int kSizes[] = {1, 2, 3, 7, 15, 16, 17, 31, 33, 61, 64, 127, 312};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}

  int integer(int low, int high) { return std::uniform_int_distribution(low, high)(engine_); }

  template <class T>
  std::vector<T> integers(size_t n, int low, int high) {
    std::vector<T> values(n);
    for (T& v : values) v = static_cast<T>(integer(low, high));
    return values;
  }

  std::vector<float> floats(size_t n, float scale = 1) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(n);
    for (float& v : values) v = normal(engine_);
    return values;
  }

 private:
  std::mt19937 engine_;
};

}  // namespace bitbert::test
