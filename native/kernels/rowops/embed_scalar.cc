// The reference for embed.
#include "kernels/rowops/rowops.h"
#include "kernels/rowops/scalar_math.h"

namespace bitbert::scalar {

void embed(const EmbeddingRow& word, const EmbeddingRow& token_type, const EmbeddingRow& position, int n, float* out) {
  for (int i = 0; i < n; ++i) {
    const float w = static_cast<float>(word.codes[i]) * word.scale;
    const float t = fma(token_type.codes[i], token_type.scale, w);
    out[i] = fma(position.codes[i], position.scale, t);
  }
}

}  // namespace bitbert::scalar
