// Which table of kernels runs: chosen once from what the CPU can do, or forced by name. docs/dispatch.md.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace bitbert {

// Asked for an instruction set that is unknown, or that this CPU or build lacks.
class InstructionSetUnavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Names that can run here, slowest first; "scalar" always.
std::vector<std::string> available_isas();

// BITBERT_ISA if it is set and not empty, else the last of available_isas().
std::string active_isa();

// The table of that name; "" means active_isa(). Throws InstructionSetUnavailable.
const Kernels& find_kernels(const std::string& isa);

}  // namespace bitbert
