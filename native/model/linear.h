// A linear layer: weights in panels of one row group, each at its own width, beside scales, biases and row sums.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "model/arena.h"
#include "model/packing.h"

namespace bitbert {

class Linear {
 public:
  Linear() = default;

  // `span`: rows after which row groups start anew. Storage comes from `bump`; a counting one only measures.
  // Throws std::invalid_argument naming the tensor.
  Linear(const PackedWeight& weight, int rows, int columns, int span, std::span<const float> bias, Bump& bump);

  // Multiplies all rows of `input`. `scratch` holds scratch_bytes(): the panels that are being multiplied, unpacked.
  void run(const Kernels& kernels, const GemmInput& input, const GemmOutput& output, int8_t* scratch) const;

  const std::string& name() const { return name_; }  // of the module, without ".weight"
  int rows() const { return rows_; }
  int columns() const { return columns_; }
  size_t scratch_bytes() const;

 private:
  struct StoredPanel {
    Panel panel;          // its weights are as stored
    int bits;             // 8: codes; 1, 2, 4: fields, as unpack.h has them; 0: pruned
    const int8_t* codes;  // the code of each field
  };

  std::string name_;
  int rows_ = 0, columns_ = 0, blocks_ = 0;
  std::vector<StoredPanel> panels_;
};

}  // namespace bitbert
