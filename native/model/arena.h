// Memory in one piece: aligned, grown but never shrunk, and handed out front to back. Big pieces ask for huge pages,
// which halve the time of reading 8-bit weights once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace bitbert {

// Hands out pieces of a block that it does not own, each on a cache line of its own. Without a block it only counts.
class Bump {
 public:
  static constexpr size_t kAlignment = 64;

  explicit Bump(std::byte* block = nullptr) : block_(block) {}

  template <class T>
  T* take(size_t count) {
    const size_t at = (used_ + kAlignment - 1) / kAlignment * kAlignment;
    used_ = at + count * sizeof(T);
    return block_ ? reinterpret_cast<T*>(block_ + at) : nullptr;
  }

  // Bytes that need no alignment.
  uint8_t* take_packed(size_t count) {
    const size_t at = used_;
    used_ += count;
    return block_ ? reinterpret_cast<uint8_t*>(block_ + at) : nullptr;
  }

  size_t used() const { return used_; }

 private:
  std::byte* block_;
  size_t used_ = 0;
};

class Arena {
 public:
  // At least this many bytes; what was there before is lost if it has to grow. Throws std::bad_alloc.
  std::byte* reserve(size_t bytes);

 private:
  struct Free {
    void operator()(std::byte* block) const;
  };
  std::unique_ptr<std::byte[], Free> block_;
  size_t size_ = 0;
};

}  // namespace bitbert
