// The inner loops of the ceilings that Graft is compared with, as plain as they can be.
#ifndef GRAFT_MEASURE_H
#define GRAFT_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

// Whether this processor has stores that go around its caches, as far as this file knows how to use them.
bool graft_measure_has_streaming_stores(void);

// Copies `count` bytes between ranges that do not overlap, with stores that go around the caches where there are such,
// else as memcpy does. Total.
void graft_measure_copy_streaming(void *destination, const void *source, size_t count);

// Decodes zstd frames as barely as the library can, one after another; owned by one thread at a time.
struct graft_measure_zstd;

// A decoder, or NULL without memory.
struct graft_measure_zstd *graft_measure_zstd_open(void);

// Releases a decoder; NULL is permitted.
void graft_measure_zstd_close(struct graft_measure_zstd *decoder);

// Decodes all frames of `source` into `destination`. The number of decoded bytes, or -1 where zstd refuses them.
ptrdiff_t graft_measure_zstd_decode(
    struct graft_measure_zstd *decoder, const void *source, size_t source_count, void *destination,
    size_t destination_count);

// Encodes zstd frames as barely as the library can, at one level; owned by one thread at a time.
struct graft_measure_zstd_encoder;

// An encoder, or NULL without memory or where there is no such level.
struct graft_measure_zstd_encoder *graft_measure_zstd_encoder_open(int level);

// Releases an encoder; NULL is permitted.
void graft_measure_zstd_encoder_close(struct graft_measure_zstd_encoder *encoder);

// The most bytes that a frame of `count` bytes takes.
size_t graft_measure_zstd_bound(size_t count);

// Encodes `source` as one frame. The frame's bytes, or -1 where it has no room.
ptrdiff_t graft_measure_zstd_encode(
    struct graft_measure_zstd_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count);

#endif
