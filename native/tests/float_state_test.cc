// Kernels round to nearest whatever the caller has set, and the caller gets its own mode back; so do the threads of a
// team.
#include "cpu/float_state.h"

#include <cfenv>

#include "check.h"
#include "model/threads.h"

namespace bitbert::test {
namespace {

// 1 plus less than half a unit in its last place: above 1 only if additions round up.
bool rounds_up() {
  volatile float one = 1, little = 0x1p-30f;
  return one + little > 1;
}

void check_modes() {
  CHECK(rounds_up(), "the caller's mode");
  {
    const FloatState state;
    CHECK(!rounds_up(), "inside");
  }
  CHECK(rounds_up(), "the caller's mode again");
  Team team(2);  // threads inherit the mode of the one that starts them
  team.run([](int thread) { CHECK(thread == 0 || !rounds_up(), "worker"); });
}

}  // namespace
}  // namespace bitbert::test

int main() {
#ifdef __x86_64__  // FloatState does nothing elsewhere
  std::fesetround(FE_UPWARD);
  bitbert::test::check_modes();
  std::fesetround(FE_TONEAREST);
#endif
  return bitbert::test::failures();
}
