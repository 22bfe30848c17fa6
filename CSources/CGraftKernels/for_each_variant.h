// Includes the file that VARIANT_LOOPS names once for each set of instructions; variants.h says what such a file holds.
//
// For each copy VARIANT(name) gives a name of its own and VARIANT_BYTES is the length of a register; copies for AVX2 and
// AVX-512 may use F16C. This has no guard against a second inclusion: every file of loops has one of its own.

#define VARIANT(NAME) NAME##_portable
#define VARIANT_BYTES 16
#include VARIANT_LOOPS
#undef VARIANT
#undef VARIANT_BYTES

#if GRAFT_HAS_X86_VARIANTS
#pragma clang attribute push(__attribute__((target(GRAFT_AVX2_TARGET))), apply_to = function)
#define VARIANT(NAME) NAME##_avx2
#define VARIANT_BYTES 32
#include VARIANT_LOOPS
#undef VARIANT
#undef VARIANT_BYTES
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target(GRAFT_AVX512_TARGET))), apply_to = function)
#define VARIANT(NAME) NAME##_avx512
#define VARIANT_BYTES 64
#include VARIANT_LOOPS
#undef VARIANT
#undef VARIANT_BYTES
#pragma clang attribute pop
#endif

#undef VARIANT_LOOPS
