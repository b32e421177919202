// The table of kernels: all that the model asks of an instruction set. Contracts stand beside each type. Every table
// gives the same bits; the scalar one is the reference.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/pack/panels.h"
#include "kernels/pack/unpack.h"
#include "kernels/rowops/rowops.h"

namespace bitbert {

struct Kernels {
  const char* isa;
  GemmFn* gemm;
  GemmBitsFn* gemm_bits;  // null where gemm is as fast
  UnpackFn* unpack;
  TileRowsFn* tile_rows;
  TileColumnsFn* tile_columns;
  QuantizeFn* quantize;
  QuantizePerTokenFn* quantize_per_token;
  LayerNormFn* layer_norm;
  SoftmaxFn* softmax_quantize;
  ApplyFn* apply;
  EmbedFn* embed;
  DotFn* dot;
  TranslateFn* translate;
};

}  // namespace bitbert
