// An embedding table: packed codes, row by row at their own width, unpacked when a row is looked up.
#pragma once

#include <vector>

#include "kernels/rowops/rowops.h"
#include "model/arena.h"
#include "model/packing.h"

namespace bitbert {

class EmbeddingTable {
 public:
  EmbeddingTable() = default;

  // Storage comes from `bump`; a counting one only measures. Throws std::invalid_argument naming the tensor.
  EmbeddingTable(const PackedWeight& weight, int rows, int columns, Bump& bump);

  // Row `row`, its codes written to `codes` [columns].
  EmbeddingRow look_up(int row, int8_t* codes) const;

 private:
  struct Group {
    const uint8_t* bytes;  // of its first row, packed as `bits` is on disk
    int bits;
  };

  int columns_ = 0;
  Grid grid_ = Grid::kMidTread;
  std::vector<Group> groups_;
  std::vector<float> scale_;  // of each row
};

}  // namespace bitbert
