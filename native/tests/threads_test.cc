// A team runs on every thread, round after round, and a barrier lets none go before all are there.
#include "model/threads.h"

#include <atomic>

#include "check.h"

namespace bitbert::test {
namespace {

void run_rounds(int threads) {
  Team team(threads);
  CHECK(team.threads() == threads, "threads");
  for (int round = 0; round < 200; ++round) {
    std::vector<std::atomic<int>> done(threads);
    team.run([&](int thread) { ++done[thread]; });
    for (const std::atomic<int>& count : done) CHECK(count == 1, std::to_string(threads) + " threads");
  }
}

void meet(int threads) {
  constexpr int kRounds = 200;
  Team team(threads);
  Barrier barrier(threads);
  std::atomic<int> arrived{0}, early{0};
  team.run([&](int) {
    for (int round = 1; round <= kRounds; ++round) {
      ++arrived;
      barrier.wait();
      if (arrived < round * threads) ++early;
      barrier.wait();
    }
  });
  CHECK(arrived == kRounds * threads && early == 0, std::to_string(threads) + " threads");
}

}  // namespace
}  // namespace bitbert::test

int main() {
  for (const int threads : {1, 2, 3, 8}) {
    bitbert::test::run_rounds(threads);
    bitbert::test::meet(threads);
  }
  return bitbert::test::failures();
}
