// The input of a forward pass.
#pragma once

#include <cstdint>
#include <span>

namespace bitbert {

// Sequences one after the other, without padding: sequence b is tokens offsets[b] .. offsets[b + 1] - 1.
struct Batch {
  std::span<const int32_t> ids;
  std::span<const int32_t> token_types;
  std::span<const int64_t> offsets;

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int length(int64_t sequence) const { return static_cast<int>(offsets[sequence + 1] - offsets[sequence]); }
};

}  // namespace bitbert
