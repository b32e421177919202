// What this CPU and operating system can do. The only place that runs CPUID and XGETBV.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace bitbert {

struct CpuFeatures {
  bool sse4_1 = false, avx = false, avx2 = false, fma = false, avx_vnni = false;
  bool avx512f = false, avx512bw = false, avx512dq = false, avx512vl = false, avx512_vnni = false, avx512_vbmi = false;
  bool avx512_vpopcntdq = false, bmi2 = false;
  bool amx_tile = false, amx_int8 = false;

  // Name and value of each, for people to read.
  std::vector<std::pair<std::string, bool>> list() const;
};

// A feature counts only if the operating system saves its registers. Found once.
const CpuFeatures& cpu_features();

// The CPU's own name for itself, empty where it has none.
std::string cpu_name();

}  // namespace bitbert
