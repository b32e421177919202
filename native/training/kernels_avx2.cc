#include "training/kernels.h"

namespace bitbert::training::avx2 {
#include "training/loops.h"
}  // namespace bitbert::training::avx2
