#include "model/workspace.h"

#include <unistd.h>

#include <algorithm>

namespace bitbert {
namespace {

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Rows in whole blocks, and as many more as gemm may read.
CodeRows take_rows(Bump& bump, int64_t rows, int columns) {
  const int64_t stride = round_up(columns, kBlockK);
  return {bump.take<uint8_t>((rows + kRowsAtOnce) * stride), stride, bump.take<float>(rows), bump.take<int32_t>(rows)};
}

BlockMemory take_block(Bump& bump, const WorkspaceShape& s) {
  const int64_t rows = s.sharing.block_rows;
  BlockMemory m{};
  m.input = take_rows(bump, rows, s.hidden);
  m.inner = take_rows(bump, rows, s.intermediate);
  m.floats = bump.take<float>(rows * s.hidden);
  m.wide = bump.take<float>(s.floats_between ? rows * s.intermediate : 0);
  return m;
}

ThreadMemory take_thread(Bump& bump, const WorkspaceShape& s) {
  const int64_t keys = round_up(s.longest, kBlockK), dims = round_up(s.head_dim, kBlockK);
  ThreadMemory m{};
  m.scratch = bump.take<std::byte>(std::max(s.gemm_scratch, gemm_scratch_bytes(static_cast<int>(keys / kBlockK))));
  m.codes = bump.take<int8_t>(3 * s.hidden);
  m.head_panels = bump.take<Panel>((keys + dims) / kPanelColumns);
  m.key_panels = bump.take<uint8_t>(keys * dims);
  m.value_panels = bump.take<uint8_t>(keys * dims);
  m.key_sums = bump.take<int32_t>(keys);
  m.scores = bump.take<float>(kQueryRows * keys);
  m.probs = take_rows(bump, kQueryRows, static_cast<int>(keys));
  return m;
}

}  // namespace

void Workspace::lay_out(const WorkspaceShape& s, Bump& bump) {
  hidden = bump.take<float>(s.tokens * s.hidden);
  query = take_rows(bump, s.tokens, s.hidden);
  key = bump.take<int8_t>(s.tokens * s.hidden);
  value = bump.take<int8_t>(s.tokens * s.hidden);
  context = take_rows(bump, s.tokens, s.hidden);
  context_values = bump.take<float>(s.tokens * s.hidden);
  blocks.clear();
  threads.clear();
  for (int i = 0; i < s.sharing.groups; ++i) blocks.push_back(take_block(bump, s));
  for (int i = 0; i < s.sharing.threads(); ++i) threads.push_back(take_thread(bump, s));
}

void Workspace::prepare(const WorkspaceShape& shape) {
  Bump measure;
  lay_out(shape, measure);
  Bump bump(arena_.reserve(measure.used()));
  lay_out(shape, bump);
  next = std::vector<std::atomic<int64_t>>(shape.stages);
  const int count = shape.sharing.threads();
  if (!team || team->threads() != count) team = std::make_unique<Team>(count);
}

std::unique_ptr<Workspace> WorkspacePool::take() {
  const std::lock_guard lock(mutex_);
  if (process_ != getpid()) {
    // A forked child has the memory of these workspaces but not their threads, so they can be neither used nor joined.
    for (auto& stale : idle_) stale.release();
    idle_.clear();
    process_ = getpid();
  }
  if (idle_.empty()) return std::make_unique<Workspace>();
  std::unique_ptr<Workspace> workspace = std::move(idle_.back());
  idle_.pop_back();
  return workspace;
}

void WorkspacePool::give_back(std::unique_ptr<Workspace> workspace) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(workspace));
}

}  // namespace bitbert
