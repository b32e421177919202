#include "training/parallel.h"

#include <atomic>

namespace bitbert::training {
namespace {

using GompParallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);

GompParallel gomp_parallel = nullptr;
unsigned thread_count = 1;

struct Loop {
  std::size_t count;
  const std::function<void(std::size_t)>* work;
  std::atomic<std::size_t> next{0};
};

void run_chunks(void* argument) {
  Loop& loop = *static_cast<Loop*>(argument);
  for (std::size_t i; (i = loop.next.fetch_add(1, std::memory_order_relaxed)) < loop.count;) (*loop.work)(i);
}

}  // namespace

void set_thread_pool(void* address, unsigned threads) {
  gomp_parallel = reinterpret_cast<GompParallel>(address);
  thread_count = threads;
}

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work) {
  Loop loop{count, &work};
  if (gomp_parallel == nullptr || thread_count < 2 || count < 2) return run_chunks(&loop);
  gomp_parallel(run_chunks, &loop, thread_count, 0);
}

}  // namespace bitbert::training
