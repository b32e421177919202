// The memory and threads of one forward pass. Kept by the encoder and used again; never by two passes at once.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "model/arena.h"
#include "model/threads.h"

namespace bitbert {

// Rows of codes with the scale and zero point of each row.
struct CodeRows {
  uint8_t* codes;  // [rows][stride]
  int64_t stride;
  float* scale;         // [rows]
  int32_t* zero_point;  // [rows]

  GemmInput input(int rows) const { return {codes, stride, rows, scale, zero_point}; }
  CodeRows from(int64_t row) const { return {codes + row * stride, stride, scale + row, zero_point + row}; }
};

// How threads share the work between two meetings. With many tokens each thread takes whole blocks of them; with few,
// a block belongs to several threads, and each computes some of the columns: then every weight is read once.
struct Sharing {
  int groups;      // of threads; each has a block of its own
  int parts;       // threads in a group
  int block_rows;  // tokens in a block, at most

  int threads() const { return groups * parts; }
};

struct WorkspaceShape {
  int64_t tokens;
  int longest;  // tokens of the longest sequence
  int stages;   // of work that threads take piece by piece
  Sharing sharing;
  int hidden, intermediate, head_dim;
  size_t gemm_scratch;
  bool floats_between;  // feed-forward products are joined by floats, not by a table of codes
};

inline constexpr int kQueryRows = 64;  // of scores at a time: 64 x 512 floats stay in L2

// What the threads of a group work on together.
struct BlockMemory {
  CodeRows input;  // [block_rows][hidden]
  CodeRows inner;  // [block_rows][intermediate]
  float* floats;   // [block_rows][hidden]
  float* wide;     // [block_rows][intermediate] if floats_between
};

// What one thread needs for itself.
struct ThreadMemory {
  std::byte* scratch;  // of gemm
  int8_t* codes;       // [3][hidden] embedding rows

  // Attention, one head of one sequence.
  Panel* head_panels;
  uint8_t* key_panels;
  uint8_t* value_panels;
  int32_t* key_sums;
  float* scores;   // [kQueryRows][longest]
  CodeRows probs;  // [kQueryRows][longest]
};

struct Workspace {
  float* hidden;          // [tokens][hidden] the residual stream
  CodeRows query;         // [tokens][hidden]
  int8_t* key;            // [tokens][hidden]
  int8_t* value;          // [tokens][hidden]
  CodeRows context;       // [tokens][hidden] attention output as codes
  float* context_values;  // [tokens][hidden], where its scale is per token
  std::vector<BlockMemory> blocks;
  std::vector<ThreadMemory> threads;
  std::unique_ptr<Team> team;
  std::vector<std::atomic<int64_t>> next;  // piece of each stage, [stages]

  // Makes room for a pass of this shape.
  void prepare(const WorkspaceShape& shape);

 private:
  void lay_out(const WorkspaceShape& shape, Bump& bump);
  Arena arena_;
};

// Workspaces that nobody uses at the moment. Each concurrent forward pass takes its own.
class WorkspacePool {
 public:
  std::unique_ptr<Workspace> take();
  void give_back(std::unique_ptr<Workspace> workspace);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
  int64_t process_ = 0;  // that the threads of the idle ones belong to
};

}  // namespace bitbert
