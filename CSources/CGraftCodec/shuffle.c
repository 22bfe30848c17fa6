// Elements into byte planes. Plain loops with the number of planes known to the compiler, which vectorises them for the
// instructions that they are compiled for: once for any processor, once for AVX2.
#include "graft_codec.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE void
shuffle_loop(uint8_t *restrict planes, const uint8_t *restrict elements, size_t count, size_t type_size) {
    // Pieces that stay in the first-level cache while each of their planes is taken from them.
    const size_t piece = 8192 / type_size;
    for (size_t start = 0; start < count; start += piece) {
        const size_t end = start + piece < count ? start + piece : count;
        for (size_t plane = 0; plane < type_size; plane++) {
            uint8_t *restrict to = planes + plane * count;
            for (size_t i = start; i < end; i++) to[i] = elements[i * type_size + plane];
        }
    }
}

ALWAYS_INLINE void
shuffle_any(uint8_t *restrict planes, const uint8_t *restrict elements, size_t count, size_t type_size) {
    switch (type_size) {
    case 1: shuffle_loop(planes, elements, count, 1); break;
    case 2: shuffle_loop(planes, elements, count, 2); break;
    case 4: shuffle_loop(planes, elements, count, 4); break;
    case 8: shuffle_loop(planes, elements, count, 8); break;
    case 16: shuffle_loop(planes, elements, count, 16); break;
    default: shuffle_loop(planes, elements, count, type_size);
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void
shuffle_avx2(uint8_t *restrict planes, const uint8_t *restrict elements, size_t count, size_t type_size) {
    shuffle_any(planes, elements, count, type_size);
}
#endif

void graft_shuffle(void *planes, const void *elements, size_t element_count, size_t type_size) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        shuffle_avx2(planes, elements, element_count, type_size);
        return;
    }
#endif
    shuffle_any(planes, elements, element_count, type_size);
}
