// Weights of 1, 2 or 4 bits back to the s8 panel that gemm.h multiplies.
//
// A packed panel is cut in vectors of 64 bytes. With f = 8 / bits, byte j of vector i holds byte j of the f groups f *
// i .. f * i + f - 1 of the panel, the first in the lowest bits, each as a field: an index into `codes`.
#pragma once

#include <cstdint>

namespace bitbert {

struct PackedPanel {
  const uint8_t* fields;  // [blocks][128 * bits]
  int32_t bits;           // 1, 2 or 4
  int32_t blocks;         // of 64 inner elements, 1024 codes each
  const int8_t* codes;    // [16] the code of each field
};

using UnpackFn = void(const PackedPanel& panel, int8_t* out);  // out: [blocks][1024]

namespace scalar {
UnpackFn unpack;
}
namespace avx2 {
UnpackFn unpack;
}
namespace avx512_vnni {
UnpackFn unpack;
}

}  // namespace bitbert
