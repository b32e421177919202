#include "cpu/features.h"

#include <cstdint>
#include <cstring>

#ifdef BITBERT_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace bitbert {

std::vector<std::pair<std::string, bool>> CpuFeatures::list() const {
  return {{"sse4_1", sse4_1},
          {"avx", avx},
          {"avx2", avx2},
          {"fma", fma},
          {"avx_vnni", avx_vnni},
          {"avx512f", avx512f},
          {"avx512bw", avx512bw},
          {"avx512dq", avx512dq},
          {"avx512vl", avx512vl},
          {"avx512_vnni", avx512_vnni},
          {"avx512_vbmi", avx512_vbmi},
          {"avx512_vpopcntdq", avx512_vpopcntdq},
          {"bmi2", bmi2},
          {"amx_tile", amx_tile},
          {"amx_int8", amx_int8}};
}

#ifdef BITBERT_X86

namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);  // zeros where the CPU lacks the leaf
  return r;
}

bool bit(uint32_t word, int index) { return (word >> index) & 1; }

// XCR0: which register states the operating system saves. In bytes for assemblers, as the intrinsic needs -mxsave.
uint64_t saved_states() {
  uint32_t low, high;
  __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Linux lends the tile registers only to processes that ask for them.
bool ask_for_tiles() {
#ifdef __linux__
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return true;
#endif
}

CpuFeatures detect() {
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  const uint64_t states = bit(one.ecx, 27) ? saved_states() : 0;  // OSXSAVE
  const bool ymm = (states & kYmm) == kYmm, zmm = (states & kZmm) == kZmm;
  const bool tiles = (states & kTiles) == kTiles && ask_for_tiles();
  CpuFeatures f;
  f.sse4_1 = bit(one.ecx, 19);
  f.avx = ymm && bit(one.ecx, 28);
  f.fma = ymm && bit(one.ecx, 12);
  f.avx2 = ymm && bit(seven.ebx, 5);
  f.avx_vnni = ymm && bit(seven_one.eax, 4);
  f.avx512f = zmm && bit(seven.ebx, 16);
  f.avx512dq = zmm && bit(seven.ebx, 17);
  f.avx512bw = zmm && bit(seven.ebx, 30);
  f.avx512vl = zmm && bit(seven.ebx, 31);
  f.avx512_vbmi = zmm && bit(seven.ecx, 1);
  f.avx512_vnni = zmm && bit(seven.ecx, 11);
  f.avx512_vpopcntdq = zmm && bit(seven.ecx, 14);
  f.bmi2 = bit(seven.ebx, 8);
  f.amx_tile = tiles && bit(seven.edx, 24);
  f.amx_int8 = tiles && bit(seven.edx, 25);
  return f;
}

}  // namespace

std::string cpu_name() {
  constexpr uint32_t kFirst = 0x80000002, kLast = 0x80000004;
  char name[49] = {};
  for (uint32_t leaf = kFirst; leaf <= kLast; ++leaf) {
    const Registers r = cpuid(leaf, 0);
    std::memcpy(name + 16 * (leaf - kFirst), &r, sizeof(r));
  }
  const std::string text = name;
  const size_t begin = text.find_first_not_of(' ');
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

#else

namespace {
CpuFeatures detect() { return {}; }
}  // namespace

std::string cpu_name() { return ""; }

#endif

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

}  // namespace bitbert
