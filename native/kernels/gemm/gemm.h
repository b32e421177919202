// The integer matrix product: u8 activation rows times s8 weight panels, and what becomes of each sum before it is
// stored. docs/numerics.md, "Integer products" and "Linear layer".
//
// A panel holds 16 output columns (rows of the weight matrix) as groups of 4 inner elements: byte 4 * c + j of the 64
// bytes of group g is weight[c][4 * g + j]. That is what one VNNI instruction takes, and 16 groups make one AMX tile.
// Panels narrower than 8 bits are stored as fields (pack/unpack.h) and unpacked where they are multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/quantizer.h"

namespace bitbert {

// Instruction sets compile these headers with flags of their own, and none may get another's copy of a function.
#define BITBERT_ALWAYS_INLINE __attribute__((always_inline))

inline constexpr int kPanelColumns = 16;
inline constexpr int kGroup = 4;                             // inner elements in a group
inline constexpr int kGroupBytes = kPanelColumns * kGroup;   // 64
inline constexpr int kBlockK = 64;                           // panels are stored in whole blocks of 64 inner elements
inline constexpr int kBlockBytes = kPanelColumns * kBlockK;  // 1024
inline constexpr int kMaxK = 65536;                          // no sum of this many u8 * s8 products leaves 32 bits

struct Panel {
  const void* weights;  // int8_t [groups][64], or fields in whole blocks; of unused columns anything
  const int8_t* codes;  // [16] the code of each field, if bits < 8
  int32_t bits;         // 8, 4, 2 or 1: the width of what is stored
  int32_t groups;       // 0: pruned, every sum is 0
  int32_t column;       // the output column of the panel's first
  int32_t count;        // 1..16 columns are stored
  int32_t max_code;     // bound on |weight|
  const int32_t* sums;  // [16] sum of each column's weights, for the zero point
  const float* scale;   // [16]
  const float* bias;    // [16]

  BITBERT_ALWAYS_INLINE const int8_t* bytes() const { return static_cast<const int8_t*>(weights); }  // if bits == 8
  BITBERT_ALWAYS_INLINE int blocks() const { return (groups * kGroup + kBlockK - 1) / kBlockK; }
};

// Kernels may read whole blocks of 64 bytes of a row, and kRowsAtOnce rows: what lies there must be readable, and where
// the inner dimension ends inside a block, either the row or the panel must hold zeros up to the end of the block.
struct GemmInput {
  const uint8_t* codes;  // [rows][stride]
  int64_t stride;
  int32_t rows;
  const float* scale;         // [rows]
  const int32_t* zero_point;  // [rows]

  BITBERT_ALWAYS_INLINE GemmInput from(int row, int count) const {
    return {codes + row * stride, stride, count, scale + row, zero_point + row};
  }
};

enum class GemmOutputKind {
  kSums,    // int32, zero point subtracted
  kFloats,  // fma(sum, scale_row * scale_column, bias)
  kCodes,   // the float quantized to one byte
};

struct GemmOutput {
  GemmOutputKind kind;
  void* data;      // [rows][stride]
  int64_t stride;  // in elements
  Quantizer quantizer;

  BITBERT_ALWAYS_INLINE GemmOutput from(int row) const {
    const int64_t size = kind == GemmOutputKind::kCodes ? 1 : sizeof(float);
    return {kind, static_cast<char*>(data) + row * stride * size, stride, quantizer};
  }
};

// Memory that a product needs besides: the sums of a block, two pairs of unpacked panels, and rows in 16 bits with a
// number each.
inline constexpr int kPanelsAtOnce = 2;
inline constexpr int kRowsAtOnce = 32;
inline constexpr int kWidenedRows = 128;
static constexpr size_t gemm_scratch_bytes(int blocks) {
  return kRowsAtOnce * kPanelsAtOnce * kPanelColumns * sizeof(int32_t) +
         size_t{2} * kPanelsAtOnce * kBlockBytes * blocks +
         kWidenedRows * (sizeof(int32_t) + sizeof(int16_t) * kBlockK * blocks);
}

// `scratch` has gemm_scratch_bytes(blocks of the deepest panel), aligned to 64.
using GemmFn = void(const GemmInput& input, const Panel* panels, int panel_count, const GemmOutput& output,
                    std::byte* scratch);

// The values of 1-bit activations: codes zero_point - 1 and + 1, or codes 0 and 1.
enum class BitValues { kSigns, kZeroOne };

// gemm for 1-bit activations and unpruned panels of 1 bit. `depth`: the inner dimension.
using GemmBitsFn = void(const GemmInput& input, BitValues values, int depth, const Panel* panels, int panel_count,
                        const GemmOutput& output, std::byte* scratch);

namespace scalar {
GemmFn gemm;
}
namespace avx2 {
GemmFn gemm;
}
namespace avx_vnni {
GemmFn gemm;
}
namespace avx_vnni_evex {
GemmFn gemm;
}
namespace avx512_vnni {
GemmFn gemm;
}
namespace avx512_popcount {
GemmBitsFn gemm_bits;
}
namespace amx {
GemmFn gemm;
}
namespace amx_emulated {
GemmFn gemm;
}

}  // namespace bitbert
