#include "graft_codec.h"

#include <blosc.h>
#include <limits.h>
#include <string.h>

static uint32_t load32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

int graft_blosc_read_header(const void *source, size_t source_count, struct graft_blosc_header *header) {
    // version, version of the compressor, flags, bytes of an element, then three sizes: decoded, of a block, encoded.
    const uint8_t *bytes = source;
    if (source_count < BLOSC_MIN_HEADER_LENGTH) return GRAFT_CODEC_TRUNCATED;
    header->type_size = bytes[3];
    header->decoded_count = load32(bytes + 4);
    header->block_size = load32(bytes + 8);
    header->encoded_count = load32(bytes + 12);
    if (bytes[0] == 0 || bytes[0] > BLOSC_VERSION_FORMAT) return GRAFT_CODEC_UNSUPPORTED;
    if (header->type_size == 0 || header->decoded_count > BLOSC_MAX_BUFFERSIZE) return GRAFT_CODEC_CORRUPT;
    if (header->encoded_count > source_count) return GRAFT_CODEC_TRUNCATED;
    if (header->encoded_count < source_count) return GRAFT_CODEC_CORRUPT;
    // An empty buffer has no blocks; anything else has blocks within its content, and their offsets within its bytes.
    if (header->decoded_count > 0 && (header->block_size == 0 || header->block_size > header->decoded_count)) {
        return GRAFT_CODEC_CORRUPT;
    }
    size_t validated = 0;
    if (blosc_cbuffer_validate(source, source_count, &validated) != 0 || validated != header->decoded_count) {
        return GRAFT_CODEC_CORRUPT;
    }
    return GRAFT_CODEC_OK;
}

int graft_blosc_decode(const void *source, size_t source_count, void *destination, size_t destination_count) {
    struct graft_blosc_header header;
    int status = graft_blosc_read_header(source, source_count, &header);
    if (status != GRAFT_CODEC_OK) return status;
    if (header.decoded_count > destination_count) return GRAFT_CODEC_TOO_LONG;
    if (header.decoded_count < destination_count) return GRAFT_CODEC_TRUNCATED;
    if (destination_count == 0) return GRAFT_CODEC_OK;
    // One thread: chunks are what is decoded in parallel.
    int produced = blosc_decompress_ctx(source, destination, destination_count, 1);
    if (produced == -5) return GRAFT_CODEC_UNSUPPORTED; // a compressor that this build of c-blosc lacks
    return produced >= 0 && (size_t)produced == destination_count ? GRAFT_CODEC_OK : GRAFT_CODEC_CORRUPT;
}

int graft_blosc_decode_elements(
    const void *source, size_t source_count, size_t first, size_t count, void *destination, size_t destination_count) {
    struct graft_blosc_header header;
    int status = graft_blosc_read_header(source, source_count, &header);
    if (status != GRAFT_CODEC_OK) return status;
    size_t elements = header.decoded_count / header.type_size;
    if (first > elements || count > elements - first) return GRAFT_CODEC_CORRUPT;
    if (count > INT_MAX / header.type_size || destination_count != count * header.type_size) return GRAFT_CODEC_TOO_LONG;
    if (count == 0) return GRAFT_CODEC_OK;
    int produced = blosc_getitem(source, (int)first, (int)count, destination);
    return produced >= 0 && (size_t)produced == destination_count ? GRAFT_CODEC_OK : GRAFT_CODEC_CORRUPT;
}
