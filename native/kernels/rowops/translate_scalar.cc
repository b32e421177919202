// The reference for translate.
#include "kernels/rowops/rowops.h"

namespace bitbert::scalar {

void translate(uint8_t* codes, int n, const uint8_t* table) {
  for (int i = 0; i < n; ++i) codes[i] = table[codes[i]];
}

}  // namespace bitbert::scalar
