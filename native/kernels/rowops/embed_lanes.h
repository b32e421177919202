// embed, sixteen at a time. Include after lanes/<isa>.h.
#pragma once

#include "kernels/lanes/loop.h"
#include "kernels/rowops/rowops.h"

namespace bitbert {
namespace {

BITBERT_INLINE void embed_lanes(const EmbeddingRow& word, const EmbeddingRow& token_type, const EmbeddingRow& position,
                                int n, float* out) {
  for_lanes(n, [&](int i, int count) {
    const auto codes = [&](const EmbeddingRow& row) { return to_float(load_codes(row.codes + i, count)); };
    const Lanes w = codes(word) * splat(word.scale);
    const Lanes t = fma(codes(token_type), splat(token_type.scale), w);
    store(out + i, fma(codes(position), splat(position.scale), t), count);
  });
}

}  // namespace
}  // namespace bitbert
