// One forward pass through embeddings and layers: which operation follows which, on whose rows and columns. Every
// thread runs it from start to end; threads meet before and after attention, and where they share a block, after every
// operation.
#pragma once

#include "kernels/kernels.h"
#include "model/batch.h"
#include "model/profile.h"
#include "model/trace.h"
#include "model/weights.h"
#include "model/workspace.h"

namespace bitbert {

// What all threads of a pass have in common.
struct Pass {
  const Weights& weights;
  const Kernels& kernels;
  const Batch& batch;
  const WorkspaceShape& shape;
  Workspace& workspace;
  Trace* trace;      // may be null; else the pass is of one block and one thread
  Profile* profile;  // may be null
};

// Leaves the last hidden states in the workspace.
void forward(const Pass& pass);

}  // namespace bitbert
