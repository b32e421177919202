// Where the time of forward passes goes: nanoseconds of each operation, summed over threads.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace bitbert {

enum class Operation {
  kEmbeddings,
  kQueryKeyValue,
  kAttention,
  kAttentionOutput,
  kLayerNorm,
  kIntermediate,
  kActivation,
  kOutput,
  kWaiting,
  kHead,
};
inline constexpr std::array kOperationNames = {
    "embeddings",   "query, key, value", "attention", "attention output", "layer norm",
    "intermediate", "activation",        "output",    "waiting",          "head"};

class Profile {
 public:
  void add(Operation operation, int64_t nanoseconds) {
    nanoseconds_[static_cast<size_t>(operation)].fetch_add(nanoseconds, std::memory_order_relaxed);
  }
  int64_t nanoseconds(size_t operation) const { return nanoseconds_[operation]; }

 private:
  std::array<std::atomic<int64_t>, kOperationNames.size()> nanoseconds_{};
};

// Adds its own lifetime to `profile`, if there is one.
class Timer {
 public:
  Timer(Profile* profile, Operation operation) : profile_(profile), operation_(operation) {
    if (profile_) start_ = Clock::now();
  }
  ~Timer() {
    if (profile_) profile_->add(operation_, std::chrono::nanoseconds(Clock::now() - start_).count());
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  Profile* profile_;
  Operation operation_;
  Clock::time_point start_;
};

}  // namespace bitbert
