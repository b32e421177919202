// bitbert._training: the passes of kernels.h over arrays, for bitbert/quantizers/fused.py.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include "training/kernels.h"
#include "training/parallel.h"

namespace nb = nanobind;
namespace bt = bitbert::training;

namespace {

template <typename T>
using Matrix = nb::ndarray<T, nb::shape<-1, -1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Vector = nb::ndarray<T, nb::shape<-1>, nb::c_contig, nb::device::cpu>;

// Columns that one thread takes at a time: inputs and outputs of a chunk stay in the L1 cache.
constexpr std::size_t kChunk = 4096;

void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

bt::Grid grid_of_row(const Vector<const float>& inverse_scale, std::size_t row, float low, float high) {
  return {inverse_scale.data()[inverse_scale.shape(0) == 1 ? 0 : row], low, high};
}

// Calls work(row, first column, columns, chunk number) for all chunks of a matrix.
template <typename Work>
void for_chunks(std::size_t rows, std::size_t columns, const Work& work) {
  const std::size_t per_row = (columns + kChunk - 1) / kChunk;
  nb::gil_scoped_release release;
  bt::parallel_for(rows * per_row, [&](std::size_t i) {
    const std::size_t row = i / per_row, first = i % per_row * kChunk;
    work(row, first, std::min(kChunk, columns - first), i);
  });
}

void quantize(Matrix<const float> x, Vector<const float> inverse_scale, float low, float high,
              Matrix<std::uint16_t> codes) {
  const std::size_t rows = x.shape(0), columns = x.shape(1);
  require(codes.shape(0) == rows && codes.shape(1) == columns, "codes must have the shape of x");
  require(inverse_scale.shape(0) == 1 || inverse_scale.shape(0) == rows, "one scale, or one per row");
  for_chunks(rows, columns, [&](std::size_t row, std::size_t first, std::size_t n, std::size_t) {
    const std::size_t at = row * columns + first;
    bt::kernels().quantize(x.data() + at, grid_of_row(inverse_scale, row, low, high), codes.data() + at, n);
  });
}

void quantize_backward(Matrix<const float> x, Matrix<const std::uint16_t> grad, Vector<const float> inverse_scale,
                       float low, float high, bool clip, Matrix<float> grad_x, Matrix<float> grad_scale) {
  const std::size_t rows = x.shape(0), columns = x.shape(1);
  require(grad.shape(0) == rows && grad.shape(1) == columns, "grad must have the shape of x");
  require(grad_x.shape(0) == rows && grad_x.shape(1) == columns, "grad_x must have the shape of x");
  require(inverse_scale.shape(0) == 1 || inverse_scale.shape(0) == rows, "one scale, or one per row");
  require(grad_scale.shape(0) == rows && grad_scale.shape(1) == (columns + kChunk - 1) / kChunk,
          "grad_scale must have a place for each chunk");
  for_chunks(rows, columns, [&](std::size_t row, std::size_t first, std::size_t n, std::size_t chunk) {
    const std::size_t at = row * columns + first;
    grad_scale.data()[chunk] = bt::kernels().quantize_backward(
        x.data() + at, grad.data() + at, grid_of_row(inverse_scale, row, low, high), clip, grad_x.data() + at, n);
  });
}

// Blocks of consecutive rows for the threads to share. Each has sums over its rows of its own, so there are not many.
constexpr std::size_t kBlocks = 32;

std::size_t rows_in_block(std::size_t rows) { return (rows + kBlocks - 1) / kBlocks; }

std::size_t count_blocks(std::size_t rows) {
  return rows == 0 ? 0 : (rows + rows_in_block(rows) - 1) / rows_in_block(rows);
}

// Calls work(row, block) for all rows of a matrix.
template <typename Work>
void for_rows(std::size_t rows, const Work& work) {
  const std::size_t size = rows_in_block(rows);
  nb::gil_scoped_release release;
  bt::parallel_for(count_blocks(rows), [&](std::size_t block) {
    for (std::size_t row = block * size; row < std::min(rows, (block + 1) * size); ++row) work(row, block);
  });
}

void scale_and_shift(Matrix<const std::uint16_t> sums, Vector<const float> scale, Vector<const float> bias,
                     Matrix<float> y) {
  const std::size_t rows = sums.shape(0), columns = sums.shape(1);
  require(y.shape(0) == rows && y.shape(1) == columns, "y must have the shape of sums");
  require(scale.shape(0) == columns && bias.shape(0) == columns, "one scale and one bias per column");
  for_rows(rows, [&](std::size_t row, std::size_t) {
    bt::kernels().scale_and_shift(sums.data() + row * columns, scale.data(), bias.data(), y.data() + row * columns,
                                  columns);
  });
}

void shift_and_quantize(Matrix<const std::uint16_t> sums, Vector<const float> scale, Vector<const float> bias,
                        float inverse_scale, float low, float high, Matrix<std::uint16_t> codes) {
  const std::size_t rows = sums.shape(0), columns = sums.shape(1);
  require(codes.shape(0) == rows && codes.shape(1) == columns, "codes must have the shape of sums");
  require(scale.shape(0) == columns && bias.shape(0) == columns, "one scale and one bias per column");
  for_rows(rows, [&](std::size_t row, std::size_t) {
    bt::kernels().shift_and_quantize(sums.data() + row * columns, scale.data(), bias.data(), {inverse_scale, low, high},
                                     codes.data() + row * columns, columns);
  });
}

void shift_and_quantize_backward(Matrix<const std::uint16_t> sums, Vector<const float> scale, Vector<const float> bias,
                                 Matrix<const std::uint16_t> grad, float inverse_scale, float low, float high,
                                 bool clip, Matrix<std::uint16_t> grad_y, Matrix<float> grad_bias,
                                 Vector<float> grad_scale) {
  const std::size_t rows = sums.shape(0), columns = sums.shape(1), blocks = count_blocks(rows);
  require(grad.shape(0) == rows && grad.shape(1) == columns, "grad must have the shape of sums");
  require(grad_y.shape(0) == rows && grad_y.shape(1) == columns, "grad_y must have the shape of sums");
  require(scale.shape(0) == columns && bias.shape(0) == columns, "one scale and one bias per column");
  require(grad_bias.shape(0) == blocks && grad_bias.shape(1) == columns && grad_scale.shape(0) == blocks,
          "grad_bias and grad_scale must have a place for each block of rows");
  for_rows(rows, [&](std::size_t row, std::size_t block) {
    const std::size_t at = row * columns;
    grad_scale.data()[block] += bt::kernels().shift_and_quantize_backward(
        sums.data() + at, scale.data(), bias.data(), grad.data() + at, {inverse_scale, low, high}, clip,
        grad_y.data() + at, grad_bias.data() + block * columns, columns);
  });
}

void look_up(Matrix<const std::uint16_t> codes, Vector<const float> table, float first, Matrix<std::uint16_t> out) {
  require(out.shape(0) == codes.shape(0) && out.shape(1) == codes.shape(1), "out must have the shape of codes");
  for_chunks(codes.shape(0), codes.shape(1), [&](std::size_t row, std::size_t start, std::size_t n, std::size_t) {
    const std::size_t at = row * codes.shape(1) + start;
    bt::kernels().look_up(codes.data() + at, table.data(), first, out.data() + at, n);
  });
}

void look_up_backward(Matrix<const std::uint16_t> codes, Matrix<const std::uint16_t> grad, Vector<const float> slope,
                      Vector<const float> error, float first, Matrix<std::uint16_t> grad_in, Matrix<float> grad_scale) {
  const std::size_t rows = codes.shape(0), columns = codes.shape(1);
  require(grad.shape(0) == rows && grad.shape(1) == columns, "grad must have the shape of codes");
  require(grad_in.shape(0) == rows && grad_in.shape(1) == columns, "grad_in must have the shape of codes");
  require(slope.shape(0) == error.shape(0), "slope and error must have one entry per code");
  require(grad_scale.shape(0) == rows && grad_scale.shape(1) == (columns + kChunk - 1) / kChunk,
          "grad_scale must have a place for each chunk");
  for_chunks(rows, columns, [&](std::size_t row, std::size_t start, std::size_t n, std::size_t chunk) {
    const std::size_t at = row * columns + start;
    grad_scale.data()[chunk] = bt::kernels().look_up_backward(codes.data() + at, grad.data() + at, slope.data(),
                                                              error.data(), first, grad_in.data() + at, n);
  });
}

}  // namespace

NB_MODULE(_training, m) {
  m.attr("CHUNK") = kChunk;
  m.def("set_thread_pool", [](std::uintptr_t address, unsigned threads) {
    bt::set_thread_pool(reinterpret_cast<void*>(address), threads);
  });
  m.def("count_blocks", &count_blocks);
  m.def("quantize", &quantize);
  m.def("quantize_backward", &quantize_backward);
  m.def("scale_and_shift", &scale_and_shift);
  m.def("shift_and_quantize", &shift_and_quantize);
  m.def("shift_and_quantize_backward", &shift_and_quantize_backward);
  m.def("look_up", &look_up);
  m.def("look_up_backward", &look_up_backward);
}
