#include "model/threads.h"

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

#include "cpu/float_state.h"

namespace bitbert {
namespace {

// Waits until `value` is no longer `old`. Phases are short and follow each other closely, so it looks for a while,
// letting others run, before it sleeps: waking a sleeper costs tens of microseconds.
template <class T>
void wait_while(const std::atomic<T>& value, T old) {
  constexpr auto kPatience = std::chrono::microseconds(100);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (value.load(std::memory_order_acquire) == old) {
    if (std::chrono::steady_clock::now() > deadline) return value.wait(old, std::memory_order_acquire);
    std::this_thread::yield();
  }
}

}  // namespace

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

void Team::run(int64_t tasks, const Body& body) {
  body_ = &body;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  drain(0);
  for (int busy; (busy = busy_.load(std::memory_order_acquire)) != 0;) wait_while(busy_, busy);
}

void Team::work(int thread) {
  const FloatState float_state;
  for (uint32_t seen = 0;;) {
    wait_while(round_, seen);
    ++seen;
    if (stopping_) return;
    drain(thread);
    if (busy_.fetch_sub(1, std::memory_order_release) == 1) busy_.notify_one();
  }
}

void Team::drain(int thread) {
  for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) (*body_)(task, thread);
}

}  // namespace bitbert
