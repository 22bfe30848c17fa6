// Elements into byte planes: plain loops with the number of planes known to the compiler, and for two and four planes, which are what
// weights and moments have, AVX2 by hand: there the compiler's own vectors come to a third of the speed.
#include "graft_codec.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

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
#define AVX2 __attribute__((target("avx2")))

AVX2 static void shuffle_2_avx2(uint8_t *planes, const uint8_t *elements, size_t count) {
    const __m256i low = _mm256_set1_epi16(0xff);
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m256i a = _mm256_loadu_si256((const __m256i *)(elements + 2 * i));
        const __m256i b = _mm256_loadu_si256((const __m256i *)(elements + 2 * i + 32));
        // Packing takes the two halves of a register by turns.
        const __m256i first = _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
        const __m256i second = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
        _mm256_storeu_si256((__m256i *)(planes + i), _mm256_permute4x64_epi64(first, 0xd8));
        _mm256_storeu_si256((__m256i *)(planes + count + i), _mm256_permute4x64_epi64(second, 0xd8));
    }
    for (; i < count; i++) {
        planes[i] = elements[2 * i];
        planes[count + i] = elements[2 * i + 1];
    }
}

AVX2 static void shuffle_4_avx2(uint8_t *planes, const uint8_t *elements, size_t count) {
    const __m256i group = _mm256_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        __m256i v[4];
        for (int k = 0; k < 4; k++) {
            const __m256i bytes = _mm256_loadu_si256((const __m256i *)(elements + 4 * i + 32 * (size_t)k));
            v[k] = _mm256_shuffle_epi8(bytes, group); // in each half four bytes of each plane
        }
        const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpacklo_epi32(v[2], v[3]);
        const __m256i c = _mm256_unpackhi_epi32(v[0], v[1]), d = _mm256_unpackhi_epi32(v[2], v[3]);
        const __m256i plane[4] = {
            _mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b), _mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d)};
        for (size_t k = 0; k < 4; k++) {
            _mm256_storeu_si256((__m256i *)(planes + k * count + i), _mm256_permutevar8x32_epi32(plane[k], order));
        }
    }
    for (; i < count; i++) {
        for (size_t k = 0; k < 4; k++) planes[k * count + i] = elements[4 * i + k];
    }
}

AVX2 static void shuffle_any_avx2(uint8_t *restrict planes, const uint8_t *restrict elements, size_t count, size_t type_size) {
    shuffle_any(planes, elements, count, type_size);
}
#endif

void graft_shuffle(void *planes, const void *elements, size_t element_count, size_t type_size) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        switch (type_size) {
        case 2: shuffle_2_avx2(planes, elements, element_count); break;
        case 4: shuffle_4_avx2(planes, elements, element_count); break;
        default: shuffle_any_avx2(planes, elements, element_count, type_size);
        }
        return;
    }
#endif
    shuffle_any(planes, elements, element_count, type_size);
}
