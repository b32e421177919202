// The constants of exp, erf, tanh and GELU, as docs/numerics.md fixes them. Numbers only: every instruction set has its
// own code for them, in the same order. Fitted by tools/fit_polynomials.py; src/bitbert/runtime/functions.py holds the
// same values and a test compares the two.
#pragma once

namespace bitbert::functions {

inline constexpr float kLog2e = 0x1.715476p+0f;
inline constexpr float kLn2Hi = 0x1.62e430p-1f;  // k * kLn2Hi + x is exact in exp: at most 7 + 24 bits, and it cancels
inline constexpr float kLn2Lo = -0x1.05c610p-29f;
inline constexpr float kExpMin = -0x1.58p+6f;  // -86: exp of it is still a normal number

// Polynomials, constant term first.
inline constexpr int kDegree = 6;
inline constexpr float kExp[kDegree + 1] = {0x1.0p+0f,      0x1.0p+0f,      0x1.fffffap-2f, 0x1.55540ap-3f,
                                            0x1.55589ap-5f, 0x1.126d1ep-7f, 0x1.6ab96ep-10f};
inline constexpr float kErfSmall[kDegree + 1] = {
    0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2cf8p-4f, -0x1.b7f90cp-6f,
    0x1.5405b2p-8f, -0x1.a3f7p-11f,  0x1.496a3p-14f};  // erf(a)/a - 1 in a*a, a < 1
inline constexpr float kErfLarge[kDegree + 1] = {
    0x1.661d7ap-12f, 0x1.2088eap+0f, 0x1.46baecp-1f,  0x1.a65342p-4f,
    -0x1.65cb74p-6f, 0x1.825af2p-9f, -0x1.86dd7cp-13f};  // -log(erfc(a)), 1 <= a <= 4
inline constexpr float kErfMax = 0x1p+2f;                // beyond it erf rounds to 1

inline constexpr float kSqrtHalf = 0x1.6a09e6p-1f;
inline constexpr float kSqrt2OverPi = 0x1.988454p-1f;
inline constexpr float kGeluTanhCubic = 0x1.6e4e26p-5f;

}  // namespace bitbert::functions
