// What the computing kernels' files share: types for unaligned elements, what is known of a dtype, and how one body of
// loops is compiled for several sets of instructions.
//
// A file `x_loops.h` holds plain loops. `x.c` includes it once for each variant, through for_each_variant.h, with VARIANT(name)
// defined to give each copy names of its own and, around it, the target attribute that lets the compiler vectorise with
// those instructions; GRAFT_OF_VARIANT points to one of the copies.
// The loops say what each element becomes, and the compiler may change neither the order of a sum nor a rounding,
// so that all copies give the same bits.

#ifndef GRAFT_VARIANTS_H
#define GRAFT_VARIANTS_H

#include "graft_compute.h"

#include <string.h>

#if defined(__x86_64__)
#define GRAFT_HAS_X86_VARIANTS 1
#include <immintrin.h>
#define GRAFT_AVX2_TARGET "avx2,f16c"
#define GRAFT_AVX512_TARGET "avx512f,avx512bw,avx512dq,avx512vl,f16c"
#define GRAFT_OF_VARIANT(CHOSEN, NAME) \
  ((CHOSEN) == GRAFT_AVX512 ? &NAME##_avx512 : (CHOSEN) == GRAFT_AVX2 ? &NAME##_avx2 : &NAME##_portable)
#else
#define GRAFT_OF_VARIANT(CHOSEN, NAME) ((void)(CHOSEN), &NAME##_portable)
#endif

// A compiler that cannot vectorise a loop says so; that makes the loop slower, and nothing wrong.
#pragma clang diagnostic warning "-Wpass-failed"

// A fused multiplication and addition rounds once where the portable code rounds twice.
#pragma STDC FP_CONTRACT OFF

#define GRAFT_INLINE static inline __attribute__((always_inline, unused))
// The elements of a loop do not depend on one another; where source and destination are one memory, element i of the one is
// element i of the other. Said here, no loop needs a second, slower copy for memory that overlaps.
#define GRAFT_INDEPENDENT _Pragma("clang loop vectorize(assume_safety) interleave(enable)")

// Elements wherever they lie, whatever type their memory was written as.
#define GRAFT_UNALIGNED(TYPE, NAME) typedef TYPE NAME __attribute__((aligned(1), may_alias))
GRAFT_UNALIGNED(uint8_t, any_u8);
GRAFT_UNALIGNED(int8_t, any_i8);
GRAFT_UNALIGNED(uint16_t, any_u16);
GRAFT_UNALIGNED(int16_t, any_i16);
GRAFT_UNALIGNED(uint32_t, any_u32);
GRAFT_UNALIGNED(int32_t, any_i32);
GRAFT_UNALIGNED(uint64_t, any_u64);
GRAFT_UNALIGNED(int64_t, any_i64);
GRAFT_UNALIGNED(float, any_f32);
GRAFT_UNALIGNED(double, any_f64);

GRAFT_INLINE uint32_t bits_of_f32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
GRAFT_INLINE float f32_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
GRAFT_INLINE uint64_t bits_of_f64(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
GRAFT_INLINE double f64_of_bits(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// The bits of an element in memory.
GRAFT_INLINE unsigned stored_bit_width(struct graft_format format) {
  switch ((enum graft_dtype)format.dtype) {
    case GRAFT_INT4:
    case GRAFT_UINT4:
    case GRAFT_FLOAT4_E2M1FN: return format.has_whole_bytes ? 8 : 4;
    case GRAFT_FLOAT6_E2M3FN:
    case GRAFT_FLOAT6_E3M2FN: return format.has_whole_bytes ? 8 : 6;
    case GRAFT_INT16:
    case GRAFT_UINT16:
    case GRAFT_BFLOAT16:
    case GRAFT_FLOAT16: return 16;
    case GRAFT_INT32:
    case GRAFT_UINT32:
    case GRAFT_FLOAT32: return 32;
    case GRAFT_INT64:
    case GRAFT_UINT64:
    case GRAFT_FLOAT64:
    case GRAFT_COMPLEX64: return 64;
    case GRAFT_COMPLEX128: return 128;
    default: return 8;
  }
}

// The bytes of `count` elements.
GRAFT_INLINE size_t stored_byte_count(struct graft_format format, size_t count) {
  const unsigned width = stored_bit_width(format);
  return width >= 8 ? count * (width / 8) : count / 8 * width + (count % 8 * width + 7) / 8;
}

// Whether two memories share a byte.
GRAFT_INLINE bool memories_overlap(const void *a, size_t a_size, const void *b, size_t b_size) {
  return (uintptr_t)a < (uintptr_t)b + b_size && (uintptr_t)b < (uintptr_t)a + a_size;
}

// Elements that go through scratch memory on the stack at a time: 8 KiB for the widest, so that all stages of a kernel
// find them in the first-level cache. A multiple of 8, so that packed elements begin with a byte.
enum { block_count = 512, widest_element = 16 };

#endif
