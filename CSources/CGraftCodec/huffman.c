// A frame, as RFC 8878 has it:
//
//     magic, descriptor, window or none, size of the content
//     blocks of up to 128 KiB, each: header (last, kind, size), and
//         raw: the bytes; RLE: one byte; compressed: a section of literals, and a zero for "no sequences"
//     a section of literals: header, the code's description unless the code of the block before goes on, the sizes of
//         three streams, four streams; each stream is written from its last symbol to its first
#include "huffman.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    largest_block = 128 << 10,
    longest_code = 11,       // what the format permits
    weight_table_log = 6,    // likewise, of the codes of a description
    sample_piece = 256,
    smallest_sample = 8 << 10,
    shortest_coded = 256,
    // A stream of a quarter of a block, its codes at their longest, and what is written beyond it.
    stream_room = (largest_block / 4) * longest_code / 8 + 64,
};

struct graft_huffman {
    // Two symbols' codes by both bytes: the bits above, their number in the lowest 8.
    uint32_t pairs[65536];
    uint8_t streams[4][stream_room];
    uint32_t codes[256]; // as in `pairs`
    uint32_t counts[256];
    // Whether a byte has a code, as bits too: by the upper half of a byte, for each lower half.
    bool is_present[256];
    uint8_t description[128];
    size_t description_count;
};

struct graft_huffman *graft_huffman_open(void) { return malloc(sizeof(struct graft_huffman)); }
size_t graft_huffman_memory(void) { return sizeof(struct graft_huffman); }

static void store_le(uint8_t *bytes, uint64_t value, unsigned count) {
    for (unsigned i = 0; i < count; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

// ---- The code -------------------------------------------------------------------------------------------------------

// Counts the bytes of pieces from all over the source.
static void take_sample(struct graft_huffman *encoder, const uint8_t *source, size_t count) {
    uint32_t counts[4][256];
    memset(counts, 0, sizeof counts);
    // Of 4 MiB of weights a sixty-fourth gave frames that are 0.03 to 0.06 % larger than with this, and was 3 to 8 % faster.
    size_t wanted = count / 16 > smallest_sample ? count / 16 : smallest_sample;
    size_t pieces = wanted / sample_piece;
    size_t step = count / pieces;
    if (step < sample_piece) step = sample_piece;
    for (size_t start = 0; start + sample_piece <= count; start += step) {
        const uint8_t *piece = source + start;
        for (size_t i = 0; i < sample_piece; i += 4) {
            counts[0][piece[i]]++;
            counts[1][piece[i + 1]]++;
            counts[2][piece[i + 2]]++;
            counts[3][piece[i + 3]]++;
        }
    }
    for (int symbol = 0; symbol < 256; symbol++) {
        encoder->counts[symbol] = counts[0][symbol] + counts[1][symbol] + counts[2][symbol] + counts[3][symbol];
        encoder->is_present[symbol] = encoder->counts[symbol] > 0;
    }
}

// Code lengths of `n` ≥ 2 symbols from their counts in ascending order, in place (Moffat and Katajainen).
static void minimum_redundancy(uint32_t *values, int n) {
    values[0] += values[1];
    int root = 0, leaf = 2;
    for (int next = 1; next < n - 1; next++) {
        if (leaf >= n || values[root] < values[leaf]) {
            values[next] = values[root];
            values[root++] = (uint32_t)next;
        } else {
            values[next] = values[leaf++];
        }
        if (leaf >= n || (root < next && values[root] < values[leaf])) {
            values[next] += values[root];
            values[root++] = (uint32_t)next;
        } else {
            values[next] += values[leaf++];
        }
    }
    values[n - 2] = 0;
    for (int next = n - 3; next >= 0; next--) values[next] = values[values[next]] + 1;
    int available = 1, used = 0, depth = 0, next = n - 1;
    root = n - 2;
    while (available > 0) {
        while (root >= 0 && (int)values[root] == depth) {
            used++;
            root--;
        }
        while (available > used) {
            values[next--] = (uint32_t)depth;
            available--;
        }
        available = 2 * used;
        depth++;
        used = 0;
    }
}

static int by_count(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

// Lengths of at most longest_code for the present symbols; the number of these.
static int make_lengths(const struct graft_huffman *encoder, uint8_t lengths[256]) {
    uint32_t sorted[256], values[256];
    int n = 0;
    memset(lengths, 0, 256);
    for (unsigned symbol = 0; symbol < 256; symbol++) {
        if (!encoder->is_present[symbol]) continue;
        // Counts are of a sample, which is less than 2^24 bytes wherever chunks are.
        uint32_t count = encoder->counts[symbol] < (1 << 23) ? encoder->counts[symbol] + 1 : 1 << 23;
        sorted[n++] = count << 8 | symbol;
    }
    if (n < 2) return n;
    qsort(sorted, (size_t)n, sizeof sorted[0], by_count);
    for (int i = 0; i < n; i++) values[i] = sorted[i] >> 8;
    minimum_redundancy(values, n);
    // As many codes of each length, with those that are too long moved up and shorter ones made longer until the code is complete.
    uint32_t with_length[257] = {0};
    for (int i = 0; i < n; i++) with_length[values[i]]++;
    for (int length = longest_code + 1; length <= 256; length++) with_length[longest_code] += with_length[length];
    uint32_t total = 0;
    for (int length = longest_code; length > 0; length--) total += with_length[length] << (longest_code - length);
    for (; total > 1u << longest_code; total--) {
        with_length[longest_code]--;
        int length = longest_code - 1;
        while (with_length[length] == 0) length--;
        with_length[length]--;
        with_length[length + 1] += 2;
    }
    int i = 0;
    for (int length = longest_code; length > 0; length--) {
        for (uint32_t k = 0; k < with_length[length]; k++) lengths[sorted[i++] & 0xff] = (uint8_t)length;
    }
    return n;
}

// Bits that are collected from the lowest up.
struct bits {
    uint64_t value;
    unsigned count;
    uint8_t *next;
};

static void put(struct bits *bits, uint64_t value, unsigned count) {
    bits->value |= value << bits->count;
    bits->count += count;
    for (; bits->count >= 8; bits->count -= 8, bits->value >>= 8) *bits->next++ = (uint8_t)bits->value;
}

static unsigned highest_bit(unsigned value) { return 31 - (unsigned)__builtin_clz(value); }

// The weights coded by a table of their own (FSE), with its description; the bytes, or 0 where that cannot be or takes 128 and more.
static size_t compress_weights(const uint8_t *weights, int count, uint8_t *destination) {
    enum { symbols = longest_code + 2, table_size = 1 << weight_table_log };
    int frequency[symbols] = {0}, norm[symbols] = {0};
    for (int i = 0; i < count; i++) frequency[weights[i]]++;
    int largest = 0, sum = 0, alphabet = 0;
    for (int s = 0; s < symbols; s++) {
        if (frequency[s] == 0) continue;
        if (frequency[s] == count || count < 3) return 0;
        alphabet = s + 1;
        norm[s] = (frequency[s] * table_size + count / 2) / count;
        if (norm[s] == 0) norm[s] = 1;
        sum += norm[s];
    }
    while (sum != table_size) {
        for (int s = 0; s < symbols; s++) if (norm[s] > norm[largest]) largest = s;
        const int step = sum < table_size ? table_size - sum : -1;
        norm[largest] += step;
        sum += step;
    }
    uint8_t buffer[512]; // 256 weights of at most 6 bits, and a header of less than 20 bytes
    struct bits bits = {0, 0, buffer};

    // The table's description: numbers whose width shrinks with what is left to be given out, and runs of zeros after a zero.
    put(&bits, weight_table_log - 5, 4);
    int remaining = table_size + 1, threshold = table_size;
    unsigned width = weight_table_log + 1;
    bool was_zero = false;
    for (int s = 0; s < alphabet && remaining > 1;) {
        if (was_zero) {
            int start = s;
            while (s < alphabet && norm[s] == 0) s++;
            for (; s >= start + 3; start += 3) put(&bits, 3, 2);
            put(&bits, (uint64_t)(s - start), 2);
        }
        int value = norm[s++];
        const int most = 2 * threshold - 1 - remaining;
        remaining -= value;
        value++;
        was_zero = value == 1;
        if (value >= threshold) value += most;
        put(&bits, (uint64_t)value, width - (value < most ? 1 : 0));
        for (; remaining < threshold; threshold >>= 1) width--;
    }
    if (bits.count > 0) put(&bits, 0, 8 - bits.count);

    // The table: symbols spread over the states, and for each symbol how a state becomes the next.
    uint8_t of_state[table_size];
    const unsigned step = (table_size >> 1) + (table_size >> 3) + 3;
    unsigned position = 0;
    for (int s = 0; s < symbols; s++) {
        for (int i = 0; i < norm[s]; i++) {
            of_state[position] = (uint8_t)s;
            position = (position + step) & (table_size - 1);
        }
    }
    int first[symbols + 1] = {0};
    for (int s = 0; s < symbols; s++) first[s + 1] = first[s] + norm[s];
    int filled[symbols];
    memcpy(filled, first, sizeof filled);
    uint16_t next_state[table_size];
    for (int u = 0; u < table_size; u++) next_state[filled[of_state[u]]++] = (uint16_t)(table_size + u);
    uint32_t delta_bits[symbols];
    int delta_state[symbols];
    for (int s = 0; s < symbols; s++) {
        if (norm[s] == 0) continue;
        const unsigned most = norm[s] == 1 ? weight_table_log : weight_table_log - highest_bit((unsigned)norm[s] - 1);
        delta_bits[s] = (most << 16) - ((unsigned)norm[s] << most);
        delta_state[s] = first[s] - norm[s];
    }
    // Two states in turns, from the last weight to the first: the second begins unless the number is odd.
    uint32_t states[2] = {0, 0};
    bool has_begun[2] = {false, false};
    for (int i = count - 1; i >= 0; i--) {
        const int s = weights[i], which = i & 1;
        if (!has_begun[which]) {
            const uint32_t most = (delta_bits[s] + (1 << 15)) >> 16;
            const uint32_t value = (most << 16) - delta_bits[s];
            states[which] = next_state[(int)(value >> most) + delta_state[s]];
            has_begun[which] = true;
            continue;
        }
        const uint32_t taken = (states[which] + delta_bits[s]) >> 16;
        put(&bits, states[which] & ((1u << taken) - 1), taken);
        states[which] = next_state[(int)(states[which] >> taken) + delta_state[s]];
    }
    put(&bits, states[1] & (table_size - 1), weight_table_log);
    put(&bits, states[0] & (table_size - 1), weight_table_log);
    put(&bits, 1, 1);
    if (bits.count > 0) put(&bits, 0, 8 - bits.count);
    const size_t size = (size_t)(bits.next - buffer);
    if (size >= 128) return 0;
    memcpy(destination, buffer, size);
    return size;
}

// Makes the code of the present symbols: its description and its tables. False where it cannot be described.
static bool make_code(struct graft_huffman *encoder) {
    uint8_t lengths[256], weights[256];
    if (make_lengths(encoder, lengths) < 2) return false;
    unsigned longest = 0;
    int last = 0;
    for (int s = 0; s < 256; s++) {
        if (lengths[s] == 0) continue;
        last = s;
        if (lengths[s] > longest) longest = lengths[s];
    }
    for (int s = 0; s < 256; s++) weights[s] = lengths[s] == 0 ? 0 : (uint8_t)(longest + 1 - lengths[s]);
    // The last symbol's weight is what is missing to a power of two.
    size_t size = compress_weights(weights, last, encoder->description + 1);
    if (size > 0) {
        encoder->description[0] = (uint8_t)size;
    } else {
        if (last > 128) return false;
        encoder->description[0] = (uint8_t)(127 + last);
        size = (size_t)(last + 1) / 2;
        weights[last] = 0;
        for (size_t i = 0; i < size; i++) {
            encoder->description[1 + i] = (uint8_t)(weights[2 * i] << 4 | weights[2 * i + 1]);
        }
    }
    encoder->description_count = 1 + size;

    // Codes of one length count up in the order of symbols; the longest begin with zero.
    uint32_t numbers[longest_code + 2] = {0}, next[longest_code + 2] = {0};
    for (int s = 0; s < 256; s++) numbers[lengths[s]]++;
    uint32_t first = 0;
    for (unsigned length = longest; length > 0; length--) {
        next[length] = first;
        first = (first + numbers[length]) >> 1;
    }
    for (int s = 0; s < 256; s++) {
        encoder->codes[s] = lengths[s] == 0 ? 0 : next[lengths[s]]++ << 8 | lengths[s];
    }
    for (int b = 0; b < 256; b++) {
        if (lengths[b] == 0) continue;
        uint32_t *row = encoder->pairs + 256 * b;
        const uint32_t bits = encoder->codes[b] >> 8 << 8, length = lengths[b];
        for (int a = 0; a < 256; a++) {
            const uint32_t code = encoder->codes[a];
            row[a] = (bits | (code >> 8 << length << 8)) + (code & 0xff) + length;
        }
    }
    return true;
}

// ---- What a block has -----------------------------------------------------------------------------------------------

// Notes bytes that have no code yet, as seen once. Whether there were any.
static bool note_absent(struct graft_huffman *encoder, const uint8_t *source, size_t count) {
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        if (encoder->is_present[source[i]]) continue;
        encoder->is_present[source[i]] = true;
        encoder->counts[source[i]] = 0;
        found = true;
    }
    return found;
}

#if defined(__x86_64__)
// For each byte, whether it is in a set of which `low` and `high` have a bit for each upper half of 0 to 7 and 8 to 15, by
// the lower half.
__attribute__((target("avx2"))) static bool note_absent_avx2(struct graft_huffman *encoder, const uint8_t *source, size_t count) {
    bool found = false;
    size_t i = 0;
    while (true) {
        uint8_t low[16] = {0}, high[16] = {0};
        for (int s = 0; s < 256; s++) {
            if (encoder->is_present[s]) (s < 128 ? low : high)[s & 15] |= (uint8_t)(1 << (s >> 4 & 7));
        }
        const __m256i low_sets = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)low));
        const __m256i high_sets = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)high));
        const __m256i bit_of = _mm256_setr_epi8(
            1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
        const __m256i nibble = _mm256_set1_epi8(15);
        bool is_stale = false;
        for (; i + 32 <= count && !is_stale; i += 32) {
            const __m256i bytes = _mm256_loadu_si256((const __m256i *)(source + i));
            const __m256i lower = _mm256_and_si256(bytes, nibble);
            const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
            const __m256i sets = _mm256_blendv_epi8(
                _mm256_shuffle_epi8(low_sets, lower), _mm256_shuffle_epi8(high_sets, lower), bytes);
            const __m256i hits = _mm256_and_si256(sets, _mm256_shuffle_epi8(bit_of, upper));
            if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(hits, _mm256_setzero_si256())) != 0) {
                is_stale = note_absent(encoder, source + i, 32);
                found = found || is_stale;
            }
        }
        if (!is_stale) break;
    }
    return note_absent(encoder, source + i, count - i) || found;
}
#endif

static bool note_all(struct graft_huffman *encoder, const uint8_t *source, size_t count) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return note_absent_avx2(encoder, source, count);
#endif
    return note_absent(encoder, source, count);
}

// ---- Streams --------------------------------------------------------------------------------------------------------

struct stream {
    uint64_t value;
    // Only the lowest six bits are the number of bits in `value`: whole codes are added up, which saves taking them apart.
    uint32_t count;
    uint8_t *next;
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE void add(struct stream *stream, uint32_t code) {
    stream->value |= (uint64_t)(code >> 8) << (stream->count & 63);
    stream->count += code;
}

// Eight bytes at once: those that are complete stay, the rest is written again.
ALWAYS_INLINE void flush(struct stream *stream) {
    memcpy(stream->next, &stream->value, 8);
    stream->next += (stream->count & 63) >> 3;
    stream->value >>= stream->count & 56;
    stream->count &= 7;
}

ALWAYS_INLINE uint32_t pair(const struct graft_huffman *encoder, const uint8_t *at) {
    uint16_t both;
    memcpy(&both, at, 2);
    return encoder->pairs[both];
}

// The streams of a block into the encoder's memory.
ALWAYS_INLINE void
write_streams_with(struct graft_huffman *encoder, const uint8_t *source, size_t count, size_t sizes[4]) {
    const size_t quarter = (count + 3) / 4;
    const size_t last = count - 3 * quarter;
    const size_t common = last & ~(size_t)3;
    struct stream streams[4];
    for (int k = 0; k < 4; k++) {
        streams[k] = (struct stream){0, 0, encoder->streams[k]};
        for (size_t i = (k < 3 ? quarter : last); i > common; i--) {
            add(&streams[k], encoder->codes[source[(size_t)k * quarter + i - 1]]);
            flush(&streams[k]);
        }
    }
    struct stream s0 = streams[0], s1 = streams[1], s2 = streams[2], s3 = streams[3];
    // Two pairs are at most 44 bits, and at most 7 are left from before.
    for (ptrdiff_t i = (ptrdiff_t)common - 4; i >= 0; i -= 4) {
        const uint8_t *from = source + i;
        add(&s0, pair(encoder, from + 2));
        add(&s1, pair(encoder, from + quarter + 2));
        add(&s2, pair(encoder, from + 2 * quarter + 2));
        add(&s3, pair(encoder, from + 3 * quarter + 2));
        add(&s0, pair(encoder, from));
        add(&s1, pair(encoder, from + quarter));
        add(&s2, pair(encoder, from + 2 * quarter));
        add(&s3, pair(encoder, from + 3 * quarter));
        flush(&s0);
        flush(&s1);
        flush(&s2);
        flush(&s3);
    }
    streams[0] = s0, streams[1] = s1, streams[2] = s2, streams[3] = s3;
    for (int k = 0; k < 4; k++) {
        add(&streams[k], 1 << 8 | 1); // the mark of the end
        const unsigned bytes = ((streams[k].count & 63) + 7) / 8;
        memcpy(streams[k].next, &streams[k].value, 8);
        sizes[k] = (size_t)(streams[k].next - encoder->streams[k]) + bytes;
    }
}

#if defined(__x86_64__)
// Shifts by any register.
__attribute__((target("bmi2"))) static void
write_streams_bmi2(struct graft_huffman *encoder, const uint8_t *source, size_t count, size_t sizes[4]) {
    write_streams_with(encoder, source, count, sizes);
}
#endif

static void write_streams(struct graft_huffman *encoder, const uint8_t *source, size_t count, size_t sizes[4]) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("bmi2")) {
        write_streams_bmi2(encoder, source, count, sizes);
        return;
    }
#endif
    write_streams_with(encoder, source, count, sizes);
}

// ---- Frames ---------------------------------------------------------------------------------------------------------

static void write_block_header(uint8_t *destination, bool is_last, unsigned kind, size_t size) {
    store_le(destination, (is_last ? 1 : 0) | (uint64_t)kind << 1 | (uint64_t)size << 3, 3);
}

// The literals and the end of a compressed block, if they are shorter than the block and than `room`; else 0.
static size_t write_literals(
    struct graft_huffman *encoder, const uint8_t *source, size_t count, uint8_t *destination, size_t room, bool describes) {
    enum { header = 5, sizes_of_streams = 6, no_sequences = 1 };
    size_t sizes[4];
    write_streams(encoder, source, count, sizes);
    const size_t described = describes ? encoder->description_count : 0;
    const size_t coded = described + sizes_of_streams + sizes[0] + sizes[1] + sizes[2] + sizes[3];
    const size_t total = header + coded + no_sequences;
    if (total >= count || total > room) return 0;
    const uint64_t kind = describes ? 2 : 3, four_streams_of_18_bits = 3;
    store_le(destination, kind | four_streams_of_18_bits << 2 | (uint64_t)count << 4 | (uint64_t)coded << 22, header);
    uint8_t *next = destination + header;
    memcpy(next, encoder->description, described);
    next += described;
    for (int k = 0; k < 3; k++) store_le(next + 2 * k, sizes[k], 2);
    next += sizes_of_streams;
    for (int k = 0; k < 4; k++) {
        memcpy(next, encoder->streams[k], sizes[k]);
        next += sizes[k];
    }
    *next = 0;
    return total;
}

// Whether the sample's bytes are so evenly spread that no code makes them a sixty-fourth smaller: the sum of the squares of their
// shares is then within a few hundredths of what it is for bytes that come equally often, chance of the sample included.
static bool is_even(const struct graft_huffman *encoder) {
    double squares = 0, total = 0;
    for (int s = 0; s < 256; s++) {
        total += encoder->counts[s];
        squares += (double)encoder->counts[s] * encoder->counts[s];
    }
    return squares * 256 < total * total * 1.08;
}

// Whether the code makes the sample at least a sixty-fourth smaller, as zstd asks for too.
static bool pays(const struct graft_huffman *encoder) {
    uint64_t before = 0, after = 0;
    for (int s = 0; s < 256; s++) {
        before += encoder->counts[s];
        after += (uint64_t)encoder->counts[s] * (encoder->codes[s] & 0xff);
    }
    return after + before / 8 < 8 * before;
}

size_t graft_huffman_frame(
    struct graft_huffman *encoder, const void *source, size_t count, void *destination, size_t room, int stores) {
    if (count < GRAFT_HUFFMAN_SHORTEST || room < GRAFT_HUFFMAN_FRAME_HEADER) return 0;
    const uint8_t *bytes = source;
    uint8_t *frame = destination;
    take_sample(encoder, bytes, count);
    bool has_code = !is_even(encoder) && make_code(encoder);
    const bool is_coded = has_code && pays(encoder);
    // One byte value is no code, but runs.
    bool is_constant = true;
    for (int s = 0, seen = 0; s < 256; s++) is_constant = is_constant && (seen += encoder->is_present[s]) < 2;
    if (!is_coded && !is_constant && !stores) return 0;

    // A single segment where the content is no longer than a block, else a window of one block: nothing looks back.
    const bool is_single = count <= largest_block, is_long = count > UINT32_MAX;
    store_le(frame, 0xfd2fb528, 4);
    frame[4] = (uint8_t)((is_long ? 3 : 2) << 6 | (is_single ? 1 : 0) << 5);
    size_t end = 5;
    if (!is_single) frame[end++] = (17 - 10) << 3;
    store_le(frame + end, count, is_long ? 8 : 4);
    end += is_long ? 8 : 4;

    bool is_described = false;
    for (size_t start = 0; start < count; start += largest_block) {
        const uint8_t *block = bytes + start;
        const size_t size = count - start < largest_block ? count - start : largest_block;
        const bool is_last = start + size == count;
        enum { raw, run, compressed };
        if (room - end < GRAFT_HUFFMAN_BLOCK_HEADER + 1) return 0;
        uint8_t *content = frame + end + GRAFT_HUFFMAN_BLOCK_HEADER;
        const size_t left = room - end - GRAFT_HUFFMAN_BLOCK_HEADER;
        if (memcmp(block, block + 1, size - 1) == 0) {
            write_block_header(frame + end, is_last, run, size);
            *content = *block;
            end += GRAFT_HUFFMAN_BLOCK_HEADER + 1;
            continue;
        }
        size_t written = 0;
        // The last block may have a few bytes, which do not fill four streams.
        if ((is_coded || is_constant) && size >= shortest_coded) {
            if (note_all(encoder, block, size) || !has_code) {
                has_code = make_code(encoder);
                is_described = false;
            }
            if (has_code) written = write_literals(encoder, block, size, content, left, !is_described);
        }
        if (written > 0) {
            is_described = true;
            write_block_header(frame + end, is_last, compressed, written);
        } else {
            if (left < size) return 0;
            write_block_header(frame + end, is_last, raw, size);
            memcpy(content, block, size);
            written = size;
        }
        end += GRAFT_HUFFMAN_BLOCK_HEADER + written;
    }
    return end;
}
