// A team of threads that runs one function at once, and a barrier where they meet.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace bitbert {

// Where `count` threads wait for each other, again and again.
class Barrier {
 public:
  explicit Barrier(int count) : count_(count) {}
  void wait();

 private:
  const int count_;
  std::atomic<int> waiting_{0};
  std::atomic<uint32_t> round_{0};
};

class Team {
 public:
  using Body = std::function<void(int thread)>;

  // Throws std::runtime_error if the system allows no more threads.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body(0) .. body(threads - 1) at the same time and returns when all are done. The caller is thread 0. Bodies
  // must not throw.
  void run(const Body& body);

 private:
  void stop();
  void work(int thread);

  const Body* body_ = nullptr;
  std::atomic<uint32_t> round_{0};  // counts calls of run; workers wait for it to change
  std::atomic<int> busy_{0};        // workers that have not finished this round
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace bitbert
