// What the writer of blosc buffers asks of the encoder of zstd frames. Private to this target.
#ifndef GRAFT_ZSTD_ENCODER_H
#define GRAFT_ZSTD_ENCODER_H

#include "graft_codec.h"
#include "huffman.h"

// As graft_zstd_encode, but gives up with GRAFT_CODEC_TOO_LONG where the frame takes more than the destination has, and as soon as it
// looks as if nothing will get smaller.
int graft_zstd_encode_shorter(
    struct graft_zstd_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count, size_t *produced);

#endif
