// Panels narrower than 8 bits, unpacked one pair at a time into the scratch memory of gemm.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/pack/unpack.h"

namespace bitbert {
namespace {

// `panel` with 8-bit codes: itself, or unpacked to `out` [blocks][1024].
template <UnpackFn* kUnpack>
inline Panel unpacked(Panel panel, int8_t* out) {
  if (panel.groups == 0 || panel.bits == 8) return panel;
  kUnpack({static_cast<const uint8_t*>(panel.weights), panel.bits, panel.blocks(), panel.codes}, out);
  panel.weights = out;
  panel.bits = 8;
  return panel;
}

// Calls body(panels, count) for every kPanelsAtOnce panels, unpacked.
template <UnpackFn* kUnpack, class Body>
inline void for_unpacked(const Panel* panels, int panel_count, std::byte* scratch, Body body) {
  for (int first = 0; first < panel_count; first += kPanelsAtOnce) {
    Panel pair[kPanelsAtOnce];
    const int count = panel_count - first < kPanelsAtOnce ? panel_count - first : kPanelsAtOnce;
    auto* out = reinterpret_cast<int8_t*>(scratch);
    for (int i = 0; i < count; ++i) {
      pair[i] = unpacked<kUnpack>(panels[first + i], out);
      out += int64_t{kBlockBytes} * pair[i].blocks();
    }
    body(pair, count);
  }
}

}  // namespace
}  // namespace bitbert
