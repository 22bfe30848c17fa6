// Encoders for tests of decoding; the product itself only decodes.
#ifndef GRAFT_TEST_CODEC_H
#define GRAFT_TEST_CODEC_H

#include <stdbool.h>
#include <stddef.h>

// Compresses into one zstd frame; returns its size, or 0 when the destination is too small.
size_t graft_test_zstd(
    const void *source, size_t source_count, void *destination, size_t destination_count, int level,
    bool has_content_size);

#endif
