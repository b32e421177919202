// gemm with AMX int8: blocks of 32 rows by 2 panels, four tiles of sums.
//
// A tdpbusd takes 16 cycles and few instruction slots, so the vector units idle beside it. They get two side jobs, a
// share in every step of the inner loop: the epilogue of the block before, whose sums wait in memory, and the unpacking
// of the next pair of panels.
//
// gemm_amx_emulated.cc compiles this file with tiles in memory, so that it can be tested on any CPU with AVX-512.
#include "kernels/lanes/avx512.h"
// Bodies on these registers:
#include "kernels/gemm/epilogue_lanes.h"
#include "kernels/pack/unpack_avx512.h"

#ifdef BITBERT_EMULATED
#define BITBERT_ISA_NAMESPACE amx_emulated
#include "kernels/gemm/tiles_emulated.h"
#else
#define BITBERT_ISA_NAMESPACE amx
#include "kernels/gemm/tiles_amx.h"
#endif

namespace bitbert::BITBERT_ISA_NAMESPACE {
namespace {

constexpr int kTileRows = 16;
constexpr int kPairColumns = kPanelsAtOnce * kPanelColumns;
constexpr int kSumsStride = kPairColumns * sizeof(int32_t);

int divide_up(int n, int d) { return (n + d - 1) / d; }

// One or two panels that are multiplied together, as 8-bit codes.
struct Pair {
  const Panel* panels;
  int count;
  const int8_t* weights[kPanelsAtOnce];

  int blocks() const { return panels[0].blocks(); }
};

// The panels from `panels` on that can be multiplied together: two if they are equally deep.
int pair_size(const Panel* panels, const Panel* end) {
  return panels + 1 < end && panels[0].blocks() == panels[1].blocks() ? 2 : 1;
}

// Sums in memory that become outputs, some at a time.
class Epilogue {
 public:
  Epilogue(const GemmInput& in, const GemmOutput& out) : in_(in), out_(out) {}

  void begin(const int32_t* sums, const Pair& pair, int first_row, int rows) {
    sums_ = sums;
    panels_ = pair.panels;
    first_row_ = first_row;
    row_ = 0;
    rows_ = rows;
    columns_ = pair.count;
  }

  int left() const { return rows_ - row_; }

  void run(int rows) {
    const int stop = least(row_ + rows, rows_);
    for (; row_ < stop; ++row_) {
      for (int p = 0; p < columns_; ++p) {
        const IntLanes sums = load(sums_ + row_ * kPairColumns + p * kPanelColumns);
        finish(sums, in_, first_row_ + row_, panels_[p], out_);
      }
    }
  }

 private:
  const GemmInput& in_;
  const GemmOutput& out_;
  const int32_t* sums_ = nullptr;
  const Panel* panels_ = nullptr;
  int first_row_ = 0, row_ = 0, rows_ = 0, columns_ = 0;
};

// Fields of a pair of panels that become codes, some vectors at a time. Panels of 8 bits are only fetched into the
// cache.
class Unpacking {
 public:
  void begin(const Panel* panels, int count, int8_t* out, Pair& pair) {
    pair = {panels, count, {}};
    panels_ = panels;
    count_ = count;
    for (int p = 0; p < count; ++p) {
      const bool as_stored = panels[p].bits == 8 || panels[p].groups == 0;
      pair.weights[p] = as_stored ? panels[p].bytes() : out;
      out_[p] = out;
      out += int64_t{panels[p].blocks()} * kBlockBytes;
    }
    panel_ = 0;
    vector_ = 0;
  }

  int left() const {
    int vectors = -vector_;
    for (int p = panel_; p < count_; ++p) vectors += vectors_of(panels_[p]);
    return vectors;
  }

  void run(int vectors) {
    while (vectors > 0 && panel_ < count_) {
      const Panel& panel = panels_[panel_];
      const int stop = least(vector_ + vectors, vectors_of(panel));
      vectors -= stop - vector_;
      advance(panel, stop);
      if (vector_ < vectors_of(panel)) return;
      ++panel_;
      vector_ = 0;
    }
  }

 private:
  static int vectors_of(const Panel& panel) { return panel.blocks() * unpack_vectors(panel.bits); }

  void advance(const Panel& panel, int stop) {
    if (panel.bits == 8) return fetch(panel, stop);
    if (panel.bits == 4) return unpack_until<4>(panel, stop);
    if (panel.bits == 2) return unpack_until<2>(panel, stop);
    unpack_until<1>(panel, stop);
  }

  void fetch(const Panel& panel, int stop) {
    for (; vector_ < stop; ++vector_) _mm_prefetch(panel.bytes() + int64_t{vector_} * kGroupBytes, _MM_HINT_T0);
  }

  template <int kBits>
  void unpack_until(const Panel& panel, int stop) {
    const __m512i codes = code_table(panel.codes);
    const auto* fields = static_cast<const uint8_t*>(panel.weights);
    for (; vector_ < stop; ++vector_) {
      const int64_t at = int64_t{vector_} * kGroupBytes;
      unpack_vector<kBits>(fields + at, codes, out_[panel_] + at * (8 / kBits));
    }
  }

  const Panel* panels_ = nullptr;
  int8_t* out_[kPanelsAtOnce] = {};
  int count_ = 0, panel_ = 0, vector_ = 0;
};

// What runs beside the tiles.
struct SideJobs {
  Epilogue epilogue;
  Unpacking unpacking;
  int rows_a_step = 0, vectors_a_step = 0;

  void step() {
    if (rows_a_step) epilogue.run(rows_a_step);
    if (vectors_a_step) unpacking.run(vectors_a_step);
  }
};

// Adds kRowTiles x kPanels tiles of sums up over all blocks: tile 2 * r + p of rows r and panel p, 4 + r the rows, 6 +
// p the panels.
template <int kRowTiles, int kPanels>
BITBERT_INLINE void add_up(Tiles& tiles, const uint8_t* rows, int64_t stride, const Pair& pair, SideJobs& jobs) {
  unroll<kRowTiles>([&](auto r) { unroll<kPanels>([&](auto p) { tiles.zero<2 * r.value + p.value>(); }); });
  const int blocks = pair.blocks();
  for (int64_t b = 0; b < blocks; ++b) {
    unroll<kPanels>([&](auto p) { tiles.load<6 + p.value>(pair.weights[p.value] + b * kBlockBytes, kGroupBytes); });
    unroll<kRowTiles>([&](auto r) {
      tiles.load<4 + r.value>(rows + r.value * kTileRows * stride + b * kBlockK, stride);
      unroll<kPanels>([&](auto p) { tiles.multiply<2 * r.value + p.value, 4 + r.value, 6 + p.value>(); });
    });
    jobs.step();
  }
}

template <int kRowTiles, int kPanels>
void run_block(Tiles& tiles, const GemmInput& in, const Pair& pair, int first, int rows, int32_t* sums,
               SideJobs& jobs) {
  jobs.rows_a_step = divide_up(jobs.epilogue.left(), most(pair.blocks(), 1));
  add_up<kRowTiles, kPanels>(tiles, in.codes + first * in.stride, in.stride, pair, jobs);
  jobs.epilogue.run(jobs.epilogue.left());
  unroll<kRowTiles>([&](auto r) {
    unroll<kPanels>([&](auto p) {
      tiles.store<2 * r.value + p.value>(sums + r.value * kTileRows * kPairColumns + p.value * kPanelColumns,
                                         kSumsStride);
    });
  });
  jobs.epilogue.begin(sums, pair, first, rows);
}

void run_pair(Tiles& tiles, const GemmInput& in, const Pair& pair, int32_t* sums, SideJobs& jobs) {
  const int steps = divide_up(in.rows, kRowsAtOnce) * most(pair.blocks(), 1);
  jobs.vectors_a_step = divide_up(jobs.unpacking.left(), steps);
  for (int first = 0; first < in.rows; first += kRowsAtOnce) {
    const int rows = least(kRowsAtOnce, in.rows - first);
    const auto run = rows > kTileRows ? (pair.count == 2 ? run_block<2, 2> : run_block<2, 1>)
                                      : (pair.count == 2 ? run_block<1, 2> : run_block<1, 1>);
    run(tiles, in, pair, first, rows, sums, jobs);
  }
  jobs.unpacking.run(jobs.unpacking.left());
}

}  // namespace

void gemm(const GemmInput& in, const Panel* panels, int panel_count, const GemmOutput& out, std::byte* scratch) {
  Tiles tiles;
  auto* sums = reinterpret_cast<int32_t*>(scratch);
  auto* unpacked = reinterpret_cast<int8_t*>(sums + kRowsAtOnce * kPairColumns);
  SideJobs jobs{Epilogue(in, out), {}};
  const Panel* const end = panels + panel_count;
  int deepest = 0;
  for (const Panel* panel = panels; panel < end; ++panel) deepest = most(deepest, panel->blocks());

  if (panel_count == 0) return;

  Pair current, next;
  jobs.unpacking.begin(panels, pair_size(panels, end), unpacked, next);
  jobs.unpacking.run(jobs.unpacking.left());
  for (int side = 1; next.count > 0; side = 1 - side) {
    current = next;
    const Panel* following = current.panels + current.count;
    const int count = following < end ? pair_size(following, end) : 0;
    jobs.unpacking.begin(following, count, unpacked + int64_t{side} * kPanelsAtOnce * kBlockBytes * deepest, next);
    run_pair(tiles, in, current, sums, jobs);
  }
  jobs.epilogue.run(jobs.epilogue.left());
}

}  // namespace bitbert::BITBERT_ISA_NAMESPACE
