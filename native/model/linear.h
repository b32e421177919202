// A linear layer: weights in panels of one row group, each at its own width, beside scales, biases and row sums.
//
// The output of a pruned row group is 0. Where only linear layers follow, such outputs need not be computed, and the
// next layer needs no weights for them: `Outputs::kKept` numbers those that are left one after the other.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "model/arena.h"
#include "model/packing.h"

namespace bitbert {

// Which outputs a linear layer has.
enum class Outputs { kAll, kKept };

// One of `count` threads that share the outputs of a layer.
struct Part {
  int index = 0, count = 1;
};

struct LinearShape {
  int rows, columns;                                // of the weight
  int span;                                         // rows after which row groups start anew
  std::optional<std::span<const int>> inputs = {};  // the columns that are used, if not all
  Outputs outputs = Outputs::kAll;
  std::optional<BitValues> bits = {};  // if the inputs have 1 bit
};

class Linear {
 public:
  Linear() = default;

  // Storage comes from `bump`; a counting one only measures. Throws std::invalid_argument naming the tensor.
  Linear(const PackedWeight& weight, const LinearShape& shape, std::span<const float> bias, const Kernels& kernels,
         Bump& bump);

  // Multiplies all rows of `input` for the outputs of `part`. `scratch` holds scratch_bytes().
  void run(const Kernels& kernels, const GemmInput& input, const GemmOutput& output, std::byte* scratch,
           Part part = {}) const;

  const std::string& name() const { return name_; }             // of the module, without ".weight"
  int rows() const { return rows_; }                            // of the weight
  int inputs() const { return inputs_; }                        // columns of the weight that are used
  const std::vector<int>& outputs() const { return outputs_; }  // the rows that are computed, in ascending order
  int computed() const { return static_cast<int>(outputs_.size()); }
  size_t scratch_bytes() const { return gemm_scratch_bytes(blocks_); }

  // The outputs of `part`, [first, last), if they lie beside each other.
  struct Range {
    int first, last;
  };
  bool contiguous() const { return live_ == panels_.size(); }
  Range range(Part part) const;

 private:
  struct Panels {
    size_t first, last;
  };
  Panels panels(Part part) const;

  std::string name_;
  int rows_ = 0, inputs_ = 0, blocks_ = 0;
  std::vector<int> outputs_;
  std::vector<Panel> panels_;      // pruned ones last
  size_t live_ = 0;                // panels that are not pruned
  std::optional<BitValues> bits_;  // if inputs and weights have 1 bit
};

}  // namespace bitbert
