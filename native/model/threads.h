// A team of threads that runs numbered tasks. Which thread takes which task is open; results must not depend on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace bitbert {

class Team {
 public:
  using Body = std::function<void(int64_t task, int thread)>;

  // Throws std::runtime_error if the system allows no more threads.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs body for task 0 .. tasks - 1 and returns when all are done. The caller is thread 0. Bodies must not throw.
  void run(int64_t tasks, const Body& body);

 private:
  void stop();
  void work(int thread);
  void drain(int thread);

  const Body* body_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<uint32_t> round_{0};  // counts calls of run; workers wait for it to change
  std::atomic<int> busy_{0};        // workers that have not finished this round
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace bitbert
