// What a chunk's bytes go through on their way from a file and to it: zstd, blosc and crc32c, in the form that Swift calls.
//
// Total functions: any input bytes give a status, never a trap, and never an allocation that an input's claim decides.
// A function reads exactly `source_count` bytes from `source`, writes at most `destination_count` to `destination`, and
// keeps neither pointer. NULL is permitted where the count is zero.
#ifndef GRAFT_CODEC_H
#define GRAFT_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum graft_codec_status {
    GRAFT_CODEC_OK = 0,
    GRAFT_CODEC_NO_MEMORY = -1,   // the system has no memory for the decoder's own state
    GRAFT_CODEC_CORRUPT = -2,     // the bytes contradict the codec's format or their own checksum
    GRAFT_CODEC_TRUNCATED = -3,   // the bytes end before what they began does
    GRAFT_CODEC_TOO_LONG = -4,    // the bytes decode to more than the destination holds
    GRAFT_CODEC_WINDOW = -5,      // a zstd frame needs a larger window than the limit permits
    GRAFT_CODEC_UNSUPPORTED = -6, // valid, but something that is not decoded here: a dictionary, a legacy frame
};

// ---- crc32c ---------------------------------------------------------------------------------------------------------

// The CRC-32C (Castagnoli) of `count` bytes that follow bytes whose CRC-32C is `crc`; begin with 0.
uint32_t graft_crc32c(uint32_t crc, const void *bytes, size_t count);

// How it is computed, each way faster than those before it.
enum graft_crc32c_method {
    GRAFT_CRC32C_BY_TABLES,
    GRAFT_CRC32C_BY_INSTRUCTION, // SSE4.2, or the CRC extension of Armv8
    GRAFT_CRC32C_BY_FOLDING,     // AVX-512 and VPCLMULQDQ
};

// What graft_crc32c uses: the fastest way of which the processor is capable, and it is capable of those before it.
enum graft_crc32c_method graft_crc32c_best(void);

// The same checksum in one of the ways, or in the best where the processor is not capable of it; so that tests can compare them.
uint32_t graft_crc32c_by(enum graft_crc32c_method method, uint32_t crc, const void *bytes, size_t count);

// ---- zstd -----------------------------------------------------------------------------------------------------------

// What the first bytes of a zstd frame say.
struct graft_zstd_frame {
    bool is_skippable;         // holds no content
    bool has_content_size;     // content_size is known
    uint64_t content_size;     // decoded bytes, as claimed
    uint64_t window_size;      // memory that decoding it as a stream needs, as claimed
    uint32_t header_size;      // bytes of the header; of a skippable frame too
    uint32_t skippable_size;   // bytes that follow a skippable frame's header
};

// Reads a frame's header. GRAFT_CODEC_OK, _TRUNCATED, or _CORRUPT when no frame begins here.
int graft_zstd_frame_header(const void *source, size_t source_count, struct graft_zstd_frame *frame);

// Decodes zstd frames; owned by one thread at a time.
struct graft_zstd;

// A decoder, which refuses windows above `window_limit` bytes (at least 1 KiB) when it decodes a stream; NULL without memory.
struct graft_zstd *graft_zstd_open(size_t window_limit);

// Releases a decoder; NULL is permitted.
void graft_zstd_close(struct graft_zstd *decoder);

// The bytes that the decoder holds now, its window among them.
size_t graft_zstd_memory(const struct graft_zstd *decoder);

// Decodes all frames of `source`, skippable ones too, straight into `destination`; needs no window.
// The number of decoded bytes is in `*produced` when the status is GRAFT_CODEC_OK.
// `*reason` is zstd's own word for a failure, static storage, or NULL.
int graft_zstd_decode(
    struct graft_zstd *decoder, const void *source, size_t source_count, void *destination, size_t destination_count,
    size_t *produced, const char **reason);

// Begins a stream. With `into_place` every call of graft_zstd_continue passes the same destination, which holds the whole
// content; the decoder then keeps no window and writes every byte once.
int graft_zstd_begin(struct graft_zstd *decoder, bool into_place);

struct graft_zstd_progress {
    size_t consumed;       // bytes of `source` that were taken
    size_t produced;       // into_place: the position in `destination` so far; else bytes written by this call
    bool is_between_frames; // no frame is unfinished
    uint64_t window_size;  // of the frame that failed with GRAFT_CODEC_WINDOW
    const char *reason;    // as above
};

// Decodes on until the source is used up or the destination is full. GRAFT_CODEC_OK, or why it cannot go on.
//
// After GRAFT_CODEC_OK with the source used up, the decoder may still hold decoded bytes for which the destination had no room:
// call again with an empty source until `produced` stays below the destination's count.
// With `into_place`, `destination_position` is `produced` of the call before, 0 at first; otherwise it is 0.
int graft_zstd_continue(
    struct graft_zstd *decoder, const void *source, size_t source_count, void *destination, size_t destination_count,
    size_t destination_position, struct graft_zstd_progress *progress);

// ---- blosc ----------------------------------------------------------------------------------------------------------

// What the sixteen bytes before blosc's blocks say.
struct graft_blosc_header {
    size_t decoded_count;
    size_t encoded_count;
    size_t block_size;
    size_t type_size;
};

// Reads and checks a header against the bytes that are there. GRAFT_CODEC_OK, _TRUNCATED or _CORRUPT.
int graft_blosc_read_header(const void *source, size_t source_count, struct graft_blosc_header *header);

// Decodes a blosc buffer that decodes to exactly `destination_count` bytes; allocates as much as a few of its blocks, which
// are no larger than the destination. GRAFT_CODEC_OK, _TRUNCATED, _CORRUPT, _UNSUPPORTED, or _TOO_LONG where it decodes to more.
int graft_blosc_decode(const void *source, size_t source_count, void *destination, size_t destination_count);

// Decodes the elements `first ..< first + count` of a blosc buffer, each of its header's type_size bytes, and only the blocks
// that hold them; `destination` has count × type_size bytes. The same statuses; _CORRUPT when the elements are not there.
int graft_blosc_decode_elements(
    const void *source, size_t source_count, size_t first, size_t count, void *destination, size_t destination_count);

// ---- encoding -------------------------------------------------------------------------------------------------------
//
// An encoder is owned by one thread at a time, and allocates only when it is opened. Bytes that the destination might not have room
// for are refused with GRAFT_CODEC_TOO_LONG before one is written: it has room when it has as many as the bound says.

// Encodes zstd frames.
struct graft_zstd_encoder;

// An encoder of zstd's own level, 1 to 22; or with `is_entropy_only` one whose frames are ordinary too, but hold nothing that was
// searched for: only what Huffman codes make smaller. NULL without memory, or where the library knows no such level.
struct graft_zstd_encoder *graft_zstd_encoder_open(int level, bool is_entropy_only);

// Releases an encoder; NULL is permitted.
void graft_zstd_encoder_close(struct graft_zstd_encoder *encoder);

// The bytes that the encoder holds now.
size_t graft_zstd_encoder_memory(const struct graft_zstd_encoder *encoder);

// The most bytes that a frame of `count` bytes takes; 0 where that is more than zstd encodes.
size_t graft_zstd_encoded_bound(size_t count);

// Writes one frame, which says its content's size and has no checksum of its own. GRAFT_CODEC_OK and the frame's bytes in
// `*produced`; _TOO_LONG, or _NO_MEMORY.
int graft_zstd_encode(
    struct graft_zstd_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count, size_t *produced);

// Encodes blosc buffers: elements shuffled into byte planes, each plane of a block a zstd frame or, where that is no
// smaller, as it is.
struct graft_blosc_encoder;

// An encoder for elements of `type_size` bytes, 1 to 16, with zstd as graft_zstd_encoder_open has it; NULL likewise.
struct graft_blosc_encoder *graft_blosc_encoder_open(size_t type_size, int level, bool is_entropy_only);

// Releases an encoder; NULL is permitted.
void graft_blosc_encoder_close(struct graft_blosc_encoder *encoder);

// The bytes that the encoder holds now.
size_t graft_blosc_encoder_memory(const struct graft_blosc_encoder *encoder);

// The most bytes that a buffer of `count` bytes takes; 0 where that is more than blosc encodes.
size_t graft_blosc_encoded_bound(size_t count);

// Writes one buffer, of any number of bytes. GRAFT_CODEC_OK and the buffer's bytes in `*produced`; _TOO_LONG, or _NO_MEMORY.
int graft_blosc_encode(
    struct graft_blosc_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count, size_t *produced);

// Puts byte b of each element into plane b: the planes stand one after the other, `element_count` bytes each, 1 to 16 of them.
// The ranges do not overlap.
void graft_shuffle(void *planes, const void *elements, size_t element_count, size_t type_size);

#endif
