// gemm_amx.cc on tiles in memory, for tests only.
#define BITBERT_EMULATED
#include "kernels/gemm/gemm_amx.cc"
