#include "cpu/features.h"
#include "training/kernels.h"

namespace bitbert::training {
namespace {

const Kernels& choose() {
#if defined(__x86_64__)
  const CpuFeatures& cpu = cpu_features();
  if (cpu.avx512f && cpu.avx512bw && cpu.avx512dq && cpu.avx512vl) return avx512::table;
  if (cpu.avx2 && cpu.fma) return avx2::table;
#endif
  return scalar::table;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace bitbert::training
