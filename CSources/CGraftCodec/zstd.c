// The limit on windows and decoding into place belong to the part of zstd's interface that it does not promise to keep. Both
// have been there since 1.4.8; a later library that refuses a parameter makes graft_zstd_begin fail, it does not misbehave.
#define ZSTD_STATIC_LINKING_ONLY
#include "graft_codec.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { longest_header = 18, smallest_window = 1024 };

// What zstd itself permits.
static const size_t largest_window = (size_t)1 << ZSTD_WINDOWLOG_MAX;

struct graft_zstd {
    ZSTD_DCtx *context;
    size_t window_limit;
    bool is_between_frames;
    bool into_place;
    // The first bytes of the frame that is being decoded, to say its window if it is refused.
    uint8_t header[longest_header];
    size_t header_count;
};

static uint64_t load(const uint8_t *bytes, unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

int graft_zstd_frame_header(const void *source, size_t source_count, struct graft_zstd_frame *frame) {
    const uint8_t *bytes = source;
    memset(frame, 0, sizeof *frame);
    if (source_count < 5) return GRAFT_CODEC_TRUNCATED;
    uint32_t magic = (uint32_t)load(bytes, 4);
    if ((magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START) {
        if (source_count < 8) return GRAFT_CODEC_TRUNCATED;
        frame->is_skippable = true;
        frame->header_size = 8;
        frame->skippable_size = (uint32_t)load(bytes + 4, 4);
        return GRAFT_CODEC_OK;
    }
    if (magic != ZSTD_MAGICNUMBER) return GRAFT_CODEC_CORRUPT;
    uint8_t descriptor = bytes[4];
    bool is_single_segment = descriptor >> 5 & 1;
    static const unsigned dictionary_sizes[4] = {0, 1, 2, 4};
    static const unsigned content_sizes[4] = {0, 2, 4, 8};
    unsigned window_size = is_single_segment ? 0 : 1;
    unsigned dictionary_size = dictionary_sizes[descriptor & 3];
    unsigned content_size = descriptor >> 6 == 0 && is_single_segment ? 1 : content_sizes[descriptor >> 6];
    frame->header_size = 5 + window_size + dictionary_size + content_size;
    if (descriptor >> 3 & 1) return GRAFT_CODEC_CORRUPT; // reserved, and so of a meaning that nobody knows yet
    if (source_count < frame->header_size) return GRAFT_CODEC_TRUNCATED;
    if (content_size > 0) {
        frame->has_content_size = true;
        frame->content_size = load(bytes + 5 + window_size + dictionary_size, content_size) + (content_size == 2 ? 256 : 0);
    }
    if (is_single_segment) {
        frame->window_size = frame->content_size;
    } else {
        uint64_t base = UINT64_C(1) << (10 + (bytes[5] >> 3));
        frame->window_size = base + base / 8 * (bytes[5] & 7);
    }
    return GRAFT_CODEC_OK;
}

struct graft_zstd *graft_zstd_open(size_t window_limit) {
    struct graft_zstd *decoder = calloc(1, sizeof *decoder);
    if (decoder == NULL) return NULL;
    decoder->context = ZSTD_createDCtx();
    if (decoder->context == NULL) {
        graft_zstd_close(decoder);
        return NULL;
    }
    if (window_limit < smallest_window) window_limit = smallest_window;
    if (window_limit > largest_window) window_limit = largest_window;
    decoder->window_limit = window_limit;
    decoder->is_between_frames = true;
    return decoder;
}

void graft_zstd_close(struct graft_zstd *decoder) {
    if (decoder == NULL) return;
    ZSTD_freeDCtx(decoder->context);
    free(decoder);
}

size_t graft_zstd_memory(const struct graft_zstd *decoder) { return ZSTD_sizeof_DCtx(decoder->context); }

static int status_of(size_t result, const char **reason) {
    *reason = ZSTD_getErrorName(result);
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_memory_allocation: return GRAFT_CODEC_NO_MEMORY;
    case ZSTD_error_srcSize_wrong:
    case ZSTD_error_noForwardProgress_inputEmpty: return GRAFT_CODEC_TRUNCATED;
    case ZSTD_error_dstSize_tooSmall:
    case ZSTD_error_noForwardProgress_destFull: return GRAFT_CODEC_TOO_LONG;
    case ZSTD_error_frameParameter_windowTooLarge: return GRAFT_CODEC_WINDOW;
    case ZSTD_error_dictionary_wrong:
    case ZSTD_error_dictionary_corrupted:
    case ZSTD_error_version_unsupported:
    case ZSTD_error_frameParameter_unsupported: return GRAFT_CODEC_UNSUPPORTED;
    default: return GRAFT_CODEC_CORRUPT;
    }
}

int graft_zstd_decode(
    struct graft_zstd *decoder, const void *source, size_t source_count, void *destination, size_t destination_count,
    size_t *produced, const char **reason) {
    *produced = 0;
    *reason = NULL;
    size_t result = ZSTD_decompressDCtx(decoder->context, destination, destination_count, source, source_count);
    if (ZSTD_isError(result)) return status_of(result, reason);
    *produced = result;
    return GRAFT_CODEC_OK;
}

int graft_zstd_begin(struct graft_zstd *decoder, bool into_place) {
    decoder->is_between_frames = true;
    decoder->into_place = into_place;
    decoder->header_count = 0;
    size_t result = ZSTD_DCtx_reset(decoder->context, ZSTD_reset_session_only);
    if (ZSTD_isError(result)) return GRAFT_CODEC_UNSUPPORTED;
    // In place the destination is the window.
    result = ZSTD_DCtx_setMaxWindowSize(decoder->context, into_place ? largest_window : decoder->window_limit);
    if (ZSTD_isError(result)) return GRAFT_CODEC_UNSUPPORTED;
    result = ZSTD_DCtx_setParameter(decoder->context, ZSTD_d_stableOutBuffer, into_place ? 1 : 0);
    return ZSTD_isError(result) ? GRAFT_CODEC_UNSUPPORTED : GRAFT_CODEC_OK;
}

int graft_zstd_continue(
    struct graft_zstd *decoder, const void *source, size_t source_count, void *destination, size_t destination_count,
    size_t destination_position, struct graft_zstd_progress *progress) {
    memset(progress, 0, sizeof *progress);
    ZSTD_inBuffer input = {.src = source, .size = source_count, .pos = 0};
    ZSTD_outBuffer output = {.dst = destination, .size = destination_count, .pos = destination_position};
    int status = GRAFT_CODEC_OK;
    while (true) {
        // A full destination can still be followed by frames without content and by a frame's checksum, so only a source that is
        // used up ends the loop for sure; an empty source asks for bytes that the decoder holds.
        size_t read = input.pos, written = output.pos;
        size_t kept = longest_header - decoder->header_count;
        if (kept > input.size - input.pos) kept = input.size - input.pos;
        if (kept > 0) memcpy(decoder->header + decoder->header_count, (const uint8_t *)source + input.pos, kept);
        if (decoder->is_between_frames && input.pos == input.size) break;
        size_t result = ZSTD_decompressStream(decoder->context, &output, &input);
        if (ZSTD_isError(result)) {
            decoder->header_count += kept;
            status = status_of(result, &progress->reason);
            if (status == GRAFT_CODEC_WINDOW) {
                struct graft_zstd_frame frame;
                graft_zstd_frame_header(decoder->header, decoder->header_count, &frame);
                progress->window_size = frame.window_size;
            }
            break;
        }
        decoder->is_between_frames = result == 0;
        if (result == 0) {
            decoder->header_count = 0;
        } else {
            // Only what was taken belongs to the frame for sure.
            size_t taken = input.pos - read;
            decoder->header_count += taken < kept ? taken : kept;
        }
        if (input.pos == read && output.pos == written && result != 0) break;
        if (output.pos == output.size && input.pos == input.size) break;
    }
    progress->consumed = input.pos;
    progress->produced = output.pos;
    progress->is_between_frames = decoder->is_between_frames;
    return status;
}
