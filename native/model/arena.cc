#include "model/arena.h"

#include <cstdlib>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace bitbert {

std::byte* Arena::reserve(size_t bytes) {
  if (bytes <= size_) return block_.get();
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : Bump::kAlignment;
  const size_t size = (bytes + alignment - 1) / alignment * alignment;
  block_.reset();
  size_ = 0;
  block_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, size)));
  if (!block_) throw std::bad_alloc();
  size_ = size;
#ifdef __linux__
  if (alignment == kHugePage) madvise(block_.get(), size, MADV_HUGEPAGE);  // a wish: it works without
#endif
  return block_.get();
}

void Arena::Free::operator()(std::byte* block) const { std::free(block); }

}  // namespace bitbert
