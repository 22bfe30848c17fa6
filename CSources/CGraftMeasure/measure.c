#include "graft_measure.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

bool graft_measure_has_streaming_stores(void) { return __builtin_cpu_supports("avx2"); }

__attribute__((target("avx2"))) static void copy_avx2(
    unsigned char *destination, const unsigned char *source, size_t count
) {
    size_t lead = -(uintptr_t)destination & 31;
    lead = lead < count ? lead : count;
    memcpy(destination, source, lead);
    size_t done = lead;
    // Four registers at a time, two cache lines: one after the other leaves the loads waiting for the stores.
    for (; count - done >= 128; done += 128) {
        const __m256i *const from = (const __m256i *)(source + done);
        __m256i *const to = (__m256i *)(destination + done);
        const __m256i a = _mm256_loadu_si256(from), b = _mm256_loadu_si256(from + 1);
        const __m256i c = _mm256_loadu_si256(from + 2), d = _mm256_loadu_si256(from + 3);
        _mm256_stream_si256(to, a);
        _mm256_stream_si256(to + 1, b);
        _mm256_stream_si256(to + 2, c);
        _mm256_stream_si256(to + 3, d);
    }
    _mm_sfence();
    memcpy(destination + done, source + done, count - done);
}

void graft_measure_copy_streaming(void *destination, const void *source, size_t count) {
    if (graft_measure_has_streaming_stores()) {
        copy_avx2(destination, source, count);
    } else {
        memcpy(destination, source, count);
    }
}

#else

bool graft_measure_has_streaming_stores(void) { return false; }

void graft_measure_copy_streaming(void *destination, const void *source, size_t count) {
    memcpy(destination, source, count);
}

#endif
