// Loops over chunks of work on the OpenMP threads of whoever loaded us.
//
// torch keeps a pool of OpenMP threads that go on spinning for a while after each of its operations. A pool of our own
// would fight with them for the same cores, so work is handed to that very pool, through the address of its
// GOMP_parallel (the entry point that GCC and LLVM runtimes share). Without one, everything runs on the calling thread.
#pragma once

#include <cstddef>
#include <functional>

namespace bitbert::training {

// Address of GOMP_parallel, or nullptr, and the number of threads to ask it for.
void set_thread_pool(void* gomp_parallel, unsigned threads);

// work(i) for every i < count, in any order, on any thread.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& work);

}  // namespace bitbert::training
