#include "model/threads.h"

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

#include "cpu/float_state.h"

namespace bitbert {
namespace {

void pause() {
#ifdef BITBERT_X86
  __builtin_ia32_pause();
#endif
}

// Waits until `value` is no longer `old`. Phases are short and follow each other closely, so it spins for a while, then
// lets others run, and only then sleeps: waking a sleeper costs tens of microseconds.
template <class T>
void wait_while(const std::atomic<T>& value, T old) {
  constexpr int kSpins = 1000;
  constexpr auto kPatience = std::chrono::microseconds(200);
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (value.load(std::memory_order_acquire) == old) {
    if (std::chrono::steady_clock::now() > deadline) return value.wait(old, std::memory_order_acquire);
    std::this_thread::yield();
  }
}

}  // namespace

void Barrier::wait() {
  const uint32_t round = round_.load(std::memory_order_relaxed);
  if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 < count_) return wait_while(round_, round);
  waiting_.store(0, std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
}

Team::Team(int threads) {
  try {
    for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error&) {
    stop();
    throw std::runtime_error("threads: the system does not allow " + std::to_string(threads));
  }
}

Team::~Team() { stop(); }

void Team::stop() {
  stopping_ = true;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::run(const Body& body) {
  body_ = &body;
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  body(0);
  for (int busy; (busy = busy_.load(std::memory_order_acquire)) != 0;) wait_while(busy_, busy);
}

void Team::work(int thread) {
  const FloatState float_state;
  for (uint32_t seen = 0;;) {
    wait_while(round_, seen);
    ++seen;
    if (stopping_) return;
    (*body_)(thread);
    if (busy_.fetch_sub(1, std::memory_order_release) == 1) busy_.notify_one();
  }
}

}  // namespace bitbert
