#include "cpu/float_state.h"

#ifdef BITBERT_X86
#include <xmmintrin.h>
#endif

namespace bitbert {

#ifdef BITBERT_X86

FloatState::FloatState() : saved_(_mm_getcsr()) {
  constexpr uint32_t kDefault = 0x1f80;
  _mm_setcsr(kDefault);
}

FloatState::~FloatState() { _mm_setcsr(saved_); }

#else

FloatState::FloatState() = default;
FloatState::~FloatState() = default;

#endif

}  // namespace bitbert
