// A team runs every task once, round after round, whatever the number of threads.
#include "model/threads.h"

#include <atomic>

#include "check.h"

namespace bitbert::test {
namespace {

void run_rounds(int threads) {
  Team team(threads);
  CHECK(team.threads() == threads, "threads");
  for (int round = 0; round < 200; ++round) {
    const int tasks = round % 17;
    std::vector<std::atomic<int>> done(tasks);
    team.run(tasks, [&](int64_t task, int thread) {
      CHECK(thread >= 0 && thread < threads, "thread");
      ++done[task];
    });
    for (const std::atomic<int>& count : done) CHECK(count == 1, std::to_string(threads) + " threads");
  }
}

}  // namespace
}  // namespace bitbert::test

int main() {
  for (const int threads : {1, 2, 3, 8}) bitbert::test::run_rounds(threads);
  return bitbert::test::failures();
}
