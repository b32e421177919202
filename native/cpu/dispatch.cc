#include "cpu/dispatch.h"

#include <cstdlib>

#include "cpu/features.h"

namespace bitbert {
namespace {

struct Candidate {
  Kernels kernels;
  bool runs;    // on this CPU
  bool hidden;  // for tests only: runs if asked for by name
};

constexpr Kernels kScalar = {"scalar",
                             scalar::gemm,
                             nullptr,
                             scalar::unpack,
                             scalar::tile_rows,
                             scalar::tile_columns,
                             scalar::quantize,
                             scalar::quantize_per_token,
                             scalar::layer_norm,
                             scalar::softmax_quantize,
                             scalar::apply,
                             scalar::embed,
                             scalar::dot,
                             scalar::translate};

#ifdef BITBERT_X86

constexpr Kernels kAvx2 = {"avx2",           avx2::gemm,
                           nullptr,          avx2::unpack,
                           avx2::tile_rows,  avx2::tile_columns,
                           avx2::quantize,   avx2::quantize_per_token,
                           avx2::layer_norm, avx2::softmax_quantize,
                           avx2::apply,      avx2::embed,
                           avx2::dot,        scalar::translate};

constexpr Kernels kAvx512Vnni = {"avx512_vnni",
                                 avx512_vnni::gemm,
                                 nullptr,
                                 avx512_vnni::unpack,
                                 avx2::tile_rows,
                                 avx2::tile_columns,
                                 avx512_vnni::quantize,
                                 avx512_vnni::quantize_per_token,
                                 avx512_vnni::layer_norm,
                                 avx512_vnni::softmax_quantize,
                                 avx512_vnni::apply,
                                 avx512_vnni::embed,
                                 avx512_vnni::dot,
                                 scalar::translate};

// `base` under another name, with another product.
Kernels with_gemm(Kernels base, const char* isa, GemmFn* gemm) {
  base.isa = isa;
  base.gemm = gemm;
  return base;
}

#endif

// Slowest first.
std::vector<Candidate> make_candidates() {
  std::vector<Candidate> candidates = {{kScalar, true, false}};
#ifdef BITBERT_X86
  const CpuFeatures& cpu = cpu_features();
  const bool has_avx2 = cpu.avx2 && cpu.fma;
  const bool has_avx512 = has_avx2 && cpu.avx512f && cpu.avx512bw && cpu.avx512dq && cpu.avx512vl && cpu.avx512_vnni;
  Kernels avx512 = kAvx512Vnni;
  if (cpu.avx512_vbmi) avx512.translate = avx512_vbmi::translate;
  const Kernels avx512_beside_tiles = avx512;
  if (cpu.avx512_vpopcntdq && cpu.bmi2) avx512.gemm_bits = avx512_popcount::gemm_bits;
  candidates.push_back({kAvx2, has_avx2, false});
#ifdef BITBERT_HAVE_AVX_VNNI
  candidates.push_back({with_gemm(kAvx2, "avx_vnni", avx_vnni::gemm), has_avx2 && cpu.avx_vnni, false});
#endif
  candidates.push_back({with_gemm(kAvx2, "avx_vnni_evex", avx_vnni_evex::gemm), has_avx512, true});
  candidates.push_back({avx512, has_avx512, false});
  candidates.push_back({with_gemm(avx512_beside_tiles, "amx_emulated", amx_emulated::gemm), has_avx512, true});
#ifdef BITBERT_HAVE_AMX
  candidates.push_back(
      {with_gemm(avx512_beside_tiles, "amx", amx::gemm), has_avx512 && cpu.amx_tile && cpu.amx_int8, false});
#endif
#endif
  return candidates;
}

const std::vector<Candidate>& candidates() {
  static const std::vector<Candidate> all = make_candidates();
  return all;
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Candidate& c : candidates()) {
    if (c.runs && !c.hidden) names.emplace_back(c.kernels.isa);
  }
  return names;
}

std::string active_isa() {
  const char* forced = std::getenv("BITBERT_ISA");
  return find_kernels(forced && *forced ? forced : available_isas().back()).isa;
}

const Kernels& find_kernels(const std::string& isa) {
  const std::string name = isa.empty() ? active_isa() : isa;
  for (const Candidate& c : candidates()) {
    if (name != c.kernels.isa) continue;
    if (c.runs) return c.kernels;
    throw InstructionSetUnavailable("instruction set '" + name +
                                    "': this CPU lacks it, expected one of: " + join(available_isas()));
  }
  throw InstructionSetUnavailable("instruction set '" + name +
                                  "' is unknown or not in this build, expected one of: " + join(available_isas()));
}

}  // namespace bitbert
