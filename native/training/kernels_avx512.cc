#include "training/kernels.h"

namespace bitbert::training::avx512 {
#include "training/loops.h"
}  // namespace bitbert::training::avx512
