// How literals are coded belongs to the part of zstd's interface that it does not promise to keep; a library that refuses it
// gets a parameter that is promised and has the same effect, at some cost in speed.
#define ZSTD_STATIC_LINKING_ONLY
#include "graft_codec.h"
#include "zstd_encoder.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

struct graft_zstd_encoder {
    ZSTD_CCtx *context;
    struct graft_huffman *huffman; // of an encoder that searches nothing, else NULL
};

static bool set(ZSTD_CCtx *context, ZSTD_cParameter parameter, int value) {
    return !ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value));
}

// What graft_huffman_frame leaves to zstd: short sources, and codes that it cannot describe. The match search all but switched off: it looks at one place in 128 KiB, and forgets what it saw within 64 entries. Left to
// itself with such a step zstd would store literals raw, as its negative levels do, so they are asked to be coded.
static bool set_entropy_only(ZSTD_CCtx *context) {
    if (!set(context, ZSTD_c_compressionLevel, 1) || !set(context, ZSTD_c_strategy, ZSTD_fast) ||
        !set(context, ZSTD_c_minMatch, 7) || !set(context, ZSTD_c_hashLog, 6) ||
        !set(context, ZSTD_c_windowLog, 17))
        return false;
    if (set(context, ZSTD_c_literalCompressionMode, ZSTD_ps_enable)) {
        return set(context, ZSTD_c_targetLength, ZSTD_TARGETLENGTH_MAX);
    }
    return true; // without a target length literals are coded by default
}

struct graft_zstd_encoder *graft_zstd_encoder_open(int level, bool is_entropy_only) {
    if (!is_entropy_only && (level < 1 || level > ZSTD_maxCLevel())) return NULL;
    struct graft_zstd_encoder *encoder = calloc(1, sizeof *encoder);
    if (encoder == NULL) return NULL;
    encoder->context = ZSTD_createCCtx();
    bool is_ready = encoder->context != NULL &&
                    (is_entropy_only ? set_entropy_only(encoder->context)
                                     : set(encoder->context, ZSTD_c_compressionLevel, level));
    if (is_entropy_only) {
        encoder->huffman = graft_huffman_open();
        is_ready = is_ready && encoder->huffman != NULL;
    }
    if (!is_ready) {
        graft_zstd_encoder_close(encoder);
        return NULL;
    }
    return encoder;
}

void graft_zstd_encoder_close(struct graft_zstd_encoder *encoder) {
    if (encoder == NULL) return;
    ZSTD_freeCCtx(encoder->context);
    free(encoder->huffman);
    free(encoder);
}

size_t graft_zstd_encoder_memory(const struct graft_zstd_encoder *encoder) {
    return sizeof *encoder + ZSTD_sizeof_CCtx(encoder->context) + (encoder->huffman == NULL ? 0 : graft_huffman_memory());
}

size_t graft_zstd_encoded_bound(size_t count) {
    size_t bound = ZSTD_compressBound(count);
    return ZSTD_isError(bound) ? 0 : bound;
}

static int encode_by_zstd(
    struct graft_zstd_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count, size_t *produced) {
    size_t result = ZSTD_compress2(encoder->context, destination, destination_count, source, source_count);
    if (ZSTD_isError(result)) {
        return ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall ? GRAFT_CODEC_TOO_LONG : GRAFT_CODEC_NO_MEMORY;
    }
    *produced = result;
    return GRAFT_CODEC_OK;
}

int graft_zstd_encode(
    struct graft_zstd_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count, size_t *produced) {
    *produced = 0;
    if (encoder->huffman != NULL) {
        *produced = graft_huffman_frame(encoder->huffman, source, source_count, destination, destination_count, true);
        if (*produced > 0) return GRAFT_CODEC_OK;
    }
    return encode_by_zstd(encoder, source, source_count, destination, destination_count, produced);
}

int graft_zstd_encode_shorter(
    struct graft_zstd_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count, size_t *produced) {
    *produced = 0;
    if (encoder->huffman != NULL && source_count >= GRAFT_HUFFMAN_SHORTEST) {
        *produced = graft_huffman_frame(encoder->huffman, source, source_count, destination, destination_count, false);
        return *produced > 0 ? GRAFT_CODEC_OK : GRAFT_CODEC_TOO_LONG;
    }
    return encode_by_zstd(encoder, source, source_count, destination, destination_count, produced);
}
