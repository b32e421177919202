// gemm_avx_vnni.cc in the encoding of AVX-512 VNNI, for tests only: on a CPU with AVX-512 the wider kernel runs.
#define BITBERT_EVEX
#include "kernels/gemm/gemm_avx_vnni.cc"
