#include "training/kernels.h"

namespace bitbert::training::scalar {
#include "training/loops.h"
}  // namespace bitbert::training::scalar
