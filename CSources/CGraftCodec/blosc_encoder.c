// Buffers of blosc 1, written here rather than by c-blosc, because c-blosc does not split blocks for zstd: it codes all planes of a
// block as one stream, so that the noise of the mantissas is searched and coded along with the exponents. What c-blosc
// 1.x decodes, and since when, its README_CHUNK_FORMAT and blosc.c say:
//
//     header, 16 bytes   version 2, version of zstd's streams 1, flags, bytes of an element, then u32le: decoded bytes, bytes of a
//                        block, encoded bytes with this header
//     starts             u32le for each block, from the first byte of the header on
//     blocks             each its streams, and each stream u32le its bytes, then those: a zstd frame, or as it is where the
//                        bytes are as many as decoded ones
//
// A block has a stream for each byte of an element, if the elements have at most 16 bytes and the block at least 128 of them
// and is not the shorter one at the end; that one has a single stream. Where nothing gets smaller, the header says so by a flag
// and the decoded bytes follow it.
#include "graft_codec.h"
#include "zstd_encoder.h"

#include <blosc.h>
#include <stdlib.h>
#include <string.h>

enum {
    version_of_zstd_streams = 1,
    flag_shuffled = 0x1,
    flag_stored = 0x2,
    flag_zstd = 4 << 5,
    most_streams = 16,          // MAX_SPLITS of c-blosc
    fewest_elements = 128,      // MIN_BUFFERSIZE of c-blosc
    header_size = BLOSC_MIN_HEADER_LENGTH,
};

// One zstd block is at most this long, so longer streams would be no smaller; and with elements of 4 bytes a block and
// its planes fit a second-level cache of 1 MiB.
static const size_t stream_size = (size_t)128 << 10;

struct graft_blosc_encoder {
    struct graft_zstd_encoder *zstd;
    size_t type_size;
    uint8_t *planes; // stream_size × type_size
};

struct graft_blosc_encoder *graft_blosc_encoder_open(size_t type_size, int level, bool is_entropy_only) {
    if (type_size < 1 || type_size > most_streams) return NULL;
    struct graft_blosc_encoder *encoder = calloc(1, sizeof *encoder);
    if (encoder == NULL) return NULL;
    encoder->type_size = type_size;
    encoder->zstd = graft_zstd_encoder_open(level, is_entropy_only);
    encoder->planes = malloc(stream_size * type_size);
    if (encoder->zstd == NULL || encoder->planes == NULL) {
        graft_blosc_encoder_close(encoder);
        return NULL;
    }
    return encoder;
}

void graft_blosc_encoder_close(struct graft_blosc_encoder *encoder) {
    if (encoder == NULL) return;
    graft_zstd_encoder_close(encoder->zstd);
    free(encoder->planes);
    free(encoder);
}

size_t graft_blosc_encoder_memory(const struct graft_blosc_encoder *encoder) {
    return sizeof *encoder + stream_size * encoder->type_size + graft_zstd_encoder_memory(encoder->zstd);
}

size_t graft_blosc_encoded_bound(size_t count) { return count > BLOSC_MAX_BUFFERSIZE ? 0 : count + header_size; }

static void store32(uint8_t *bytes, size_t value) {
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

static void
write_header(uint8_t *header, unsigned flags, size_t type_size, size_t count, size_t block_size, size_t encoded) {
    header[0] = BLOSC_VERSION_FORMAT;
    header[1] = version_of_zstd_streams;
    header[2] = (uint8_t)flags;
    header[3] = (uint8_t)type_size;
    store32(header + 4, count);
    store32(header + 8, block_size);
    store32(header + 12, encoded);
}

// Equal blocks of whole elements, so many that their streams are at most stream_size; what is left is less than an element a block.
static size_t block_size_of(size_t count, size_t type_size) {
    const size_t largest = stream_size * type_size;
    const size_t blocks = (count + largest - 1) / largest;
    return count / blocks / type_size * type_size;
}

// Writes a stream with its size before it: a frame if that is shorter, else as it is. The bytes written, or 0 without room.
static size_t write_stream(
    struct graft_zstd_encoder *zstd, const uint8_t *source, size_t count, uint8_t *destination, size_t room) {
    if (room < 4) return 0;
    const size_t most = count - 1 < room - 4 ? count - 1 : room - 4;
    size_t produced = 0;
    if (graft_zstd_encode_shorter(zstd, source, count, destination + 4, most, &produced) != GRAFT_CODEC_OK) {
        if (room - 4 < count) return 0;
        memcpy(destination + 4, source, count);
        produced = count;
    }
    store32(destination, produced);
    return 4 + produced;
}

// The blocks in less than `room` bytes with the header, or 0.
static size_t write_blocks(
    struct graft_blosc_encoder *encoder, const uint8_t *source, size_t count, uint8_t *destination, size_t room) {
    const size_t type_size = encoder->type_size;
    const size_t block_size = block_size_of(count, type_size);
    const size_t blocks = (count + block_size - 1) / block_size;
    size_t end = header_size + 4 * blocks;
    if (end >= room) return 0;
    for (size_t block = 0; block < blocks; block++) {
        const uint8_t *elements = source + block * block_size;
        const size_t left = count - block * block_size;
        const size_t size = left < block_size ? left : block_size;
        const bool is_split = size == block_size && size / type_size >= fewest_elements;
        const uint8_t *planes = elements;
        if (type_size > 1) {
            const size_t whole = size / type_size;
            graft_shuffle(encoder->planes, elements, whole, type_size);
            // Part of an element is no element: those bytes stay behind the planes.
            memcpy(encoder->planes + whole * type_size, elements + whole * type_size, size - whole * type_size);
            planes = encoder->planes;
        }
        store32(destination + header_size + 4 * block, end);
        const size_t streams = is_split ? type_size : 1;
        for (size_t stream = 0; stream < streams; stream++) {
            const size_t length = size / streams;
            const size_t written = write_stream(encoder->zstd, planes + stream * length, length, destination + end, room - end);
            if (written == 0) return 0;
            end += written;
        }
    }
    write_header(destination, flag_zstd | (type_size > 1 ? flag_shuffled : 0), type_size, count, block_size, end);
    return end;
}

int graft_blosc_encode(
    struct graft_blosc_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count, size_t *produced) {
    *produced = 0;
    if (source_count > BLOSC_MAX_BUFFERSIZE || destination_count < source_count + header_size) return GRAFT_CODEC_TOO_LONG;
    // c-blosc stores what is shorter than this, too.
    if (source_count >= fewest_elements) {
        *produced = write_blocks(encoder, source, source_count, destination, source_count + header_size);
        if (*produced > 0) return GRAFT_CODEC_OK;
    }
    uint8_t *bytes = destination;
    const unsigned flags = flag_zstd | flag_stored | (encoder->type_size > 1 ? flag_shuffled : 0);
    const size_t most = stream_size * encoder->type_size; // for whoever decodes a part
    const size_t block_size = source_count == 0 ? 1 : source_count < most ? source_count : most;
    write_header(bytes, flags, encoder->type_size, source_count, block_size, header_size + source_count);
    if (source_count > 0) memcpy(bytes + header_size, source, source_count);
    *produced = header_size + source_count;
    return GRAFT_CODEC_OK;
}
