// Strided placement: how bytes get from a chunk, as it was read or decoded, to their place in a result.
//
// A copy is first *simplified*: axes of one step go, destination strides become positive, axes are ordered by destination
// stride, and neighbours that continue one another merge, so that what a caller describes with many axes often is one
// memcpy. What is left is one of three shapes:
//   rows       runs along one inner axis, the outer axes counted like an odometer;
//   blocks     short runs where one axis is the tightest in the source and another in the destination: walked in
//              square tiles, so that each cache line is used whole while it is at hand;
//   transpose  blocks whose elements lie side by side on both sides: tiles go through vector registers; few rows that
//              become an inner axis without a gap are interleaved.

#include "graft_kernels.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// ---- Simplifying ----------------------------------------------------------------------------------------------------

struct simple_copy {
  size_t run;
  size_t rank;
  // Relative to the memories' beginnings, in units; within them once checked.
  ptrdiff_t source;
  ptrdiff_t destination;
  struct graft_copy_axis axes[GRAFT_COPY_RANK_LIMIT];
};

struct extent {
  ptrdiff_t low, high;
};

// Widens an extent by the steps of one axis; false when that overflows.
static bool widen(struct extent *extent, size_t count, ptrdiff_t stride) {
  ptrdiff_t reach;
  if (count - 1 > PTRDIFF_MAX || __builtin_mul_overflow((ptrdiff_t)(count - 1), stride, &reach)) return false;
  return reach < 0 ? !__builtin_add_overflow(extent->low, reach, &extent->low)
                   : !__builtin_add_overflow(extent->high, reach, &extent->high);
}

static bool begin_extent(struct extent *extent, size_t offset, size_t run) {
  if (offset > PTRDIFF_MAX || run > PTRDIFF_MAX) return false;
  extent->low = (ptrdiff_t)offset;
  return !__builtin_add_overflow((ptrdiff_t)offset, (ptrdiff_t)run, &extent->high);
}

// Whether the extent, in units of 1 << unit_shift to the byte, lies in a memory of `size` bytes.
static bool is_within(const struct extent *extent, size_t size, unsigned unit_shift) {
  if (extent->low < 0) return false;
  const size_t high = (size_t)extent->high;
  return (high >> unit_shift) + ((high & ((1u << unit_shift) - 1)) != 0) <= size;
}

// Checks a copy against the memories and brings it into the simple form; 1 when there is nothing to copy, 0 when there
// is, else the negated error.
static int simplify(struct simple_copy *simple, const struct graft_copy *copy, const void *destination,
                    size_t destination_size, const void *source, size_t source_size, unsigned unit_shift) {
  if (copy == NULL || copy->rank > GRAFT_COPY_RANK_LIMIT || (copy->rank > 0 && copy->axes == NULL)) return -EINVAL;
  if (copy->run == 0) return 1;
  for (size_t a = 0; a < copy->rank; a++)
    if (copy->axes[a].count == 0) return 1;
  if (destination == NULL || source == NULL) return -EINVAL;

  struct extent from, to;
  if (!begin_extent(&from, copy->source_offset, copy->run) || !begin_extent(&to, copy->destination_offset, copy->run))
    return -ERANGE;
  for (size_t a = 0; a < copy->rank; a++) {
    const struct graft_copy_axis *axis = &copy->axes[a];
    if (!widen(&from, axis->count, axis->source_stride) || !widen(&to, axis->count, axis->destination_stride))
      return -ERANGE;
  }
  if (!is_within(&from, source_size, unit_shift) || !is_within(&to, destination_size, unit_shift)) return -ERANGE;
  const uintptr_t unit_mask = ((uintptr_t)1 << unit_shift) - 1;
  const uintptr_t read_low = (uintptr_t)source + ((uintptr_t)from.low >> unit_shift);
  const uintptr_t read_high = (uintptr_t)source + (((uintptr_t)from.high + unit_mask) >> unit_shift);
  const uintptr_t write_low = (uintptr_t)destination + ((uintptr_t)to.low >> unit_shift);
  const uintptr_t write_high = (uintptr_t)destination + (((uintptr_t)to.high + unit_mask) >> unit_shift);
  if (read_low < write_high && write_low < read_high) return -EINVAL;

  simple->run = copy->run;
  simple->rank = 0;
  simple->source = (ptrdiff_t)copy->source_offset;
  simple->destination = (ptrdiff_t)copy->destination_offset;
  for (size_t a = 0; a < copy->rank; a++) {
    struct graft_copy_axis axis = copy->axes[a];
    if (axis.count == 1) continue;
    if (axis.destination_stride < 0) {
      // Walk the axis from its other end. The products were found not to overflow above.
      simple->source += (ptrdiff_t)(axis.count - 1) * axis.source_stride;
      simple->destination += (ptrdiff_t)(axis.count - 1) * axis.destination_stride;
      axis.source_stride = -axis.source_stride;
      axis.destination_stride = -axis.destination_stride;
    }
    // By destination stride, widest first: an insertion sort, since ranks are small and mostly in order.
    size_t place = simple->rank++;
    for (; place > 0 && simple->axes[place - 1].destination_stride < axis.destination_stride; place--)
      simple->axes[place] = simple->axes[place - 1];
    simple->axes[place] = axis;
  }

  // Runs that touch on both sides are one run.
  while (simple->rank > 0) {
    const struct graft_copy_axis *inner = &simple->axes[simple->rank - 1];
    if (inner->source_stride != (ptrdiff_t)simple->run || inner->destination_stride != (ptrdiff_t)simple->run) break;
    simple->run *= inner->count;
    simple->rank--;
  }
  // An axis that continues its inner neighbour on both sides is more steps of that neighbour.
  size_t kept = 0;
  for (size_t a = 0; a < simple->rank; a++) {
    const struct graft_copy_axis axis = simple->axes[a];
    struct graft_copy_axis *outer = kept > 0 ? &simple->axes[kept - 1] : NULL;
    ptrdiff_t source_reach, destination_reach;
    if (outer != NULL && !__builtin_mul_overflow(axis.source_stride, (ptrdiff_t)axis.count, &source_reach) &&
        !__builtin_mul_overflow(axis.destination_stride, (ptrdiff_t)axis.count, &destination_reach) &&
        outer->source_stride == source_reach && outer->destination_stride == destination_reach) {
      outer->count *= axis.count;
      outer->source_stride = axis.source_stride;
      outer->destination_stride = axis.destination_stride;
    } else {
      simple->axes[kept++] = axis;
    }
  }
  simple->rank = kept;
  return 0;
}

static void remove_axis(struct simple_copy *copy, size_t axis) {
  memmove(&copy->axes[axis], &copy->axes[axis + 1], (copy->rank - axis - 1) * sizeof copy->axes[0]);
  copy->rank--;
}

// Counts through the axes, the last one fastest. `source` and `destination` follow; false when all is counted.
static bool advance(const struct simple_copy *copy, size_t *index, ptrdiff_t *source, ptrdiff_t *destination) {
  for (size_t a = copy->rank; a-- > 0;) {
    const struct graft_copy_axis *axis = &copy->axes[a];
    if (++index[a] < axis->count) {
      *source += axis->source_stride;
      *destination += axis->destination_stride;
      return true;
    }
    index[a] = 0;
    *source -= (ptrdiff_t)(axis->count - 1) * axis->source_stride;
    *destination -= (ptrdiff_t)(axis->count - 1) * axis->destination_stride;
  }
  return false;
}

// ---- Runs along one or two axes -------------------------------------------------------------------------------------

// Two axes of runs: `inner` is the tightest in the destination, `outer` in the source. A single axis has outer_count 1.
struct plane {
  char *destination;
  const char *source;
  size_t run;
  size_t inner_count, outer_count;
  ptrdiff_t inner_source, inner_destination;
  ptrdiff_t outer_source, outer_destination;
};

// Steps along either axis of a tile of short runs: 32 lines of 64 bytes on both sides stay in any first-level cache.
enum { block_steps = 32 };

static inline __attribute__((always_inline)) void copy_run(char *destination, const char *source, size_t run) {
  memcpy(destination, source, run);
}

// A run of a size that no single store has, without a call: two stores that overlap in the middle.
static inline __attribute__((always_inline)) void copy_odd_run(char *destination, const char *source, size_t run) {
  if (run > 32) {
    memcpy(destination, source, run);
  } else if (run > 16) {
    char head[16], tail[16];
    memcpy(head, source, 16);
    memcpy(tail, source + run - 16, 16);
    memcpy(destination, head, 16);
    memcpy(destination + run - 16, tail, 16);
  } else if (run > 8) {
    char head[8], tail[8];
    memcpy(head, source, 8);
    memcpy(tail, source + run - 8, 8);
    memcpy(destination, head, 8);
    memcpy(destination + run - 8, tail, 8);
  } else if (run > 4) {
    char head[4], tail[4];
    memcpy(head, source, 4);
    memcpy(tail, source + run - 4, 4);
    memcpy(destination, head, 4);
    memcpy(destination + run - 4, tail, 4);
  } else {
    for (size_t i = 0; i < run; i++) destination[i] = source[i];
  }
}

// The loops, once for each way to copy a run; a constant `run` makes the copy a load and a store.
static inline __attribute__((always_inline)) void copy_plane_of(const struct plane *plane, size_t run,
                                                                void (*copy)(char *, const char *, size_t)) {
  for (size_t o0 = 0; o0 < plane->outer_count; o0 += block_steps) {
    const size_t o1 = plane->outer_count - o0 < block_steps ? plane->outer_count : o0 + block_steps;
    // With a single outer step there is nothing to be gained by tiles: one long row.
    const size_t steps = plane->outer_count == 1 ? plane->inner_count : block_steps;
    for (size_t i0 = 0; i0 < plane->inner_count; i0 += steps) {
      const size_t i1 = plane->inner_count - i0 < steps ? plane->inner_count : i0 + steps;
      for (size_t o = o0; o < o1; o++) {
        char *destination = plane->destination + (ptrdiff_t)o * plane->outer_destination;
        const char *source = plane->source + (ptrdiff_t)o * plane->outer_source;
        for (size_t i = i0; i < i1; i++)
          copy(destination + (ptrdiff_t)i * plane->inner_destination, source + (ptrdiff_t)i * plane->inner_source, run);
      }
    }
  }
}

static void copy_plane(const struct plane *plane) {
  switch (plane->run) {
    case 1: copy_plane_of(plane, 1, copy_run); break;
    case 2: copy_plane_of(plane, 2, copy_run); break;
    case 4: copy_plane_of(plane, 4, copy_run); break;
    case 8: copy_plane_of(plane, 8, copy_run); break;
    case 16: copy_plane_of(plane, 16, copy_run); break;
    case 32: copy_plane_of(plane, 32, copy_run); break;
    default: copy_plane_of(plane, plane->run, copy_odd_run); break;
  }
}

// ---- Transposing ----------------------------------------------------------------------------------------------------

// Turns `rows` source rows of 16 bytes into columns of the destination. Rows are source_stride bytes apart; each of the
// 16 / element size destination rows, destination_stride bytes apart, gets `rows` elements side by side.
typedef void transpose_block(char *destination, ptrdiff_t destination_stride, const char *source,
                             ptrdiff_t source_stride);

struct transposer {
  transpose_block *block;
  size_t rows;     // source rows that a block takes, elements of a destination row that it gives
  size_t columns;  // elements of a source row that a block takes
};

// The blocks for elements of one size. All take as many columns.
struct transposers {
  // That of the most rows first: rows that do not fill one are left to the next.
  struct transposer of[2];
  size_t count;
  // One that gives whole lines, to lines, around the caches; its block is null where there is none.
  struct transposer streaming;
};

// log2(n) perfect shuffles of n rows of n elements transpose them: each stage interleaves row i with row i + n / 2.
// Clang's shuffles become punpckl/h on x86-64 and zip1/2 on arm64.
#define PORTABLE_BLOCK(NAME, ELEMENT, N, STAGES, LOW, HIGH)                                                            \
  typedef ELEMENT NAME##_row __attribute__((vector_size(16)));                                                         \
  static void NAME(char *destination, ptrdiff_t destination_stride, const char *source, ptrdiff_t source_stride) {     \
    NAME##_row row[N], next[N];                                                                                        \
    _Pragma("unroll") for (int i = 0; i < N; i++) memcpy(&row[i], source + i * source_stride, 16);                     \
    _Pragma("unroll") for (int stage = 0; stage < STAGES; stage++) {                                                   \
      _Pragma("unroll") for (int i = 0; i < N / 2; i++) {                                                              \
        next[2 * i] = __builtin_shufflevector(row[i], row[i + N / 2], LOW);                                            \
        next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + N / 2], HIGH);                                       \
      }                                                                                                                \
      _Pragma("unroll") for (int i = 0; i < N; i++) row[i] = next[i];                                                  \
    }                                                                                                                  \
    _Pragma("unroll") for (int i = 0; i < N; i++) memcpy(destination + i * destination_stride, &row[i], 16);           \
  }
#define LIST(...) __VA_ARGS__
PORTABLE_BLOCK(portable_block_1, uint8_t, 16, 4, LIST(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
               LIST(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31))
PORTABLE_BLOCK(portable_block_2, uint16_t, 8, 3, LIST(0, 8, 1, 9, 2, 10, 3, 11), LIST(4, 12, 5, 13, 6, 14, 7, 15))
PORTABLE_BLOCK(portable_block_4, uint32_t, 4, 2, LIST(0, 4, 1, 5), LIST(2, 6, 3, 7))
PORTABLE_BLOCK(portable_block_8, uint64_t, 2, 1, LIST(0, 2), LIST(1, 3))

// Elements of 16 bytes fill a register, and only move; four by four, as four of them are a cache line.
static void block_16(char *destination, ptrdiff_t destination_stride, const char *source, ptrdiff_t source_stride) {
  _Pragma("unroll") for (int column = 0; column < 4; column++)
    _Pragma("unroll") for (int row = 0; row < 4; row++)
      memcpy(destination + column * destination_stride + row * 16, source + row * source_stride + column * 16, 16);
}

#if defined(__x86_64__)
#define SHUFFLE_STAGES(N, STAGES, LOW, HIGH)                                                                           \
  _Pragma("unroll") for (int stage = 0; stage < STAGES; stage++) {                                                     \
    _Pragma("unroll") for (int i = 0; i < N / 2; i++) {                                                                \
      next[2 * i] = LOW(row[i], row[i + N / 2]);                                                                       \
      next[2 * i + 1] = HIGH(row[i], row[i + N / 2]);                                                                  \
    }                                                                                                                  \
    _Pragma("unroll") for (int i = 0; i < N; i++) row[i] = next[i];                                                    \
  }

// The same in both halves of a 32-byte register at once: the low half has the first n rows, the high half the next n,
// so that a destination row gets 32 bytes side by side.
#define AVX2_BLOCK(NAME, N, STAGES, LOW, HIGH)                                                                         \
  __attribute__((target("avx2"))) static void NAME(char *destination, ptrdiff_t destination_stride,                    \
                                                   const char *source, ptrdiff_t source_stride) {                      \
    __m256i row[N], next[N];                                                                                           \
    _Pragma("unroll") for (int i = 0; i < N; i++) {                                                                    \
      const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(source + i * source_stride));                \
      const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(source + (i + N) * source_stride));         \
      row[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);                                          \
    }                                                                                                                  \
    SHUFFLE_STAGES(N, STAGES, LOW, HIGH)                                                                               \
    _Pragma("unroll") for (int i = 0; i < N; i++)                                                                      \
        _mm256_storeu_si256((__m256i *)(void *)(destination + i * destination_stride), row[i]);                        \
  }
AVX2_BLOCK(avx2_block_1, 16, 4, _mm256_unpacklo_epi8, _mm256_unpackhi_epi8)
AVX2_BLOCK(avx2_block_2, 8, 3, _mm256_unpacklo_epi16, _mm256_unpackhi_epi16)
AVX2_BLOCK(avx2_block_4, 4, 2, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32)
AVX2_BLOCK(avx2_block_8, 2, 1, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64)

// And in the four quarters of a 64-byte register, so that a destination row gets a whole cache line, around the caches. Large
// matrices gain nothing by it: blocks of so many rows, whose distance is a power of two, evict each other's lines (elements of
// 1, 2 and 4 bytes came to 0.15, 0.49 and 0.53 of a copy where AVX2 came to 0.34, 0.64 and 0.61).
#define AVX512_BLOCK(NAME, N, STAGES, LOW, HIGH)                                                                       \
  __attribute__((target("avx512f,avx512bw"))) static void NAME(char *destination, ptrdiff_t destination_stride,        \
                                                               const char *source, ptrdiff_t source_stride) {          \
    __m512i row[N], next[N];                                                                                           \
    _Pragma("unroll") for (int i = 0; i < N; i++) {                                                                    \
      const __m128i *from = (const __m128i *)(const void *)(source + i * source_stride);                               \
      row[i] = _mm512_castsi128_si512(_mm_loadu_si128(from));                                                          \
      from = (const __m128i *)(const void *)(source + (i + N) * source_stride);                                        \
      row[i] = _mm512_inserti32x4(row[i], _mm_loadu_si128(from), 1);                                                   \
      from = (const __m128i *)(const void *)(source + (i + 2 * N) * source_stride);                                    \
      row[i] = _mm512_inserti32x4(row[i], _mm_loadu_si128(from), 2);                                                   \
      from = (const __m128i *)(const void *)(source + (i + 3 * N) * source_stride);                                    \
      row[i] = _mm512_inserti32x4(row[i], _mm_loadu_si128(from), 3);                                                   \
    }                                                                                                                  \
    SHUFFLE_STAGES(N, STAGES, LOW, HIGH)                                                                               \
    _Pragma("unroll") for (int i = 0; i < N; i++)                                                                      \
        _mm512_stream_si512((__m512i *)(void *)(destination + i * destination_stride), row[i]);                        \
  }
AVX512_BLOCK(avx512_block_1, 16, 4, _mm512_unpacklo_epi8, _mm512_unpackhi_epi8)
AVX512_BLOCK(avx512_block_2, 8, 3, _mm512_unpacklo_epi16, _mm512_unpackhi_epi16)
AVX512_BLOCK(avx512_block_4, 4, 2, _mm512_unpacklo_epi32, _mm512_unpackhi_epi32)
AVX512_BLOCK(avx512_block_8, 2, 1, _mm512_unpacklo_epi64, _mm512_unpackhi_epi64)
#endif

// The blocks for elements of this size that a variant has; none for a size that is no register's part.
static struct transposers transposers_for(size_t element, enum graft_variant variant) {
  struct transposers blocks = {.count = 0};
#if defined(__x86_64__)
#define ADD_BLOCKS(SIZE, ROWS, COLUMNS)                                                                                \
  case SIZE:                                                                                                           \
    if (variant >= GRAFT_AVX512) blocks.streaming = (struct transposer){avx512_block_##SIZE, 4 * ROWS, COLUMNS};       \
    if (variant >= GRAFT_AVX2)                                                                                         \
      blocks.of[blocks.count++] = (struct transposer){avx2_block_##SIZE, 2 * ROWS, COLUMNS};                           \
    blocks.of[blocks.count++] = (struct transposer){portable_block_##SIZE, ROWS, COLUMNS};                             \
    break;
#else
  (void)variant;
#define ADD_BLOCKS(SIZE, ROWS, COLUMNS)                                                                                \
  case SIZE: blocks.of[blocks.count++] = (struct transposer){portable_block_##SIZE, ROWS, COLUMNS}; break;
#endif
  switch (element) {
    ADD_BLOCKS(1, 16, 16)
    ADD_BLOCKS(2, 8, 8)
    ADD_BLOCKS(4, 4, 4)
    ADD_BLOCKS(8, 2, 2)
    case 16: blocks.of[blocks.count++] = (struct transposer){block_16, 4, 4}; break;
    default: break;
  }
  return blocks;
}

// ---- Interleaving ---------------------------------------------------------------------------------------------------

// So few rows fill no block of a transposer; they are interleaved by loops that the compiler turns into shuffles.
enum { most_interleaved = 8 };

#define INTERLEAVE(TYPE, ROWS)                                                                                    \
  case ROWS:                                                                                                      \
    for (size_t i = 0; i < columns; i++)                                                                          \
      _Pragma("unroll") for (size_t r = 0; r < ROWS; r++) to[ROWS * i + r] =                                      \
          ((const TYPE *)(const void *)(source + (ptrdiff_t)r * source_stride))[i];                               \
    break;
#define INTERLEAVE_TYPE(NAME, TYPE)                                                                               \
  static void NAME(TYPE *restrict to, const char *restrict source, ptrdiff_t source_stride, size_t rows,          \
                   size_t columns) {                                                                              \
    switch (rows) {                                                                                               \
      INTERLEAVE(TYPE, 2)                                                                                         \
      INTERLEAVE(TYPE, 3)                                                                                         \
      INTERLEAVE(TYPE, 4)                                                                                         \
      INTERLEAVE(TYPE, 5)                                                                                         \
      INTERLEAVE(TYPE, 6)                                                                                         \
      INTERLEAVE(TYPE, 7)                                                                                         \
      INTERLEAVE(TYPE, 8)                                                                                         \
      default: break;                                                                                             \
    }                                                                                                             \
  }
typedef uint8_t any_1 __attribute__((aligned(1), may_alias));
typedef uint16_t any_2 __attribute__((aligned(1), may_alias));
typedef uint32_t any_4 __attribute__((aligned(1), may_alias));
typedef uint64_t any_8 __attribute__((aligned(1), may_alias));
INTERLEAVE_TYPE(interleave_1, any_1)
INTERLEAVE_TYPE(interleave_2, any_2)
INTERLEAVE_TYPE(interleave_4, any_4)
INTERLEAVE_TYPE(interleave_8, any_8)

// Writes element 0 of each of 2 to 8 rows, then element 1 of each, and so on; elements of 1, 2, 4 or 8 bytes.
static void interleave_rows(char *destination, const char *source, ptrdiff_t source_stride, size_t rows,
                            size_t columns, size_t element) {
  switch (element) {
    case 1: interleave_1((void *)destination, source, source_stride, rows, columns); break;
    case 2: interleave_2((void *)destination, source, source_stride, rows, columns); break;
    case 4: interleave_4((void *)destination, source, source_stride, rows, columns); break;
    default: interleave_8((void *)destination, source, source_stride, rows, columns); break;
  }
}

// Copies `count` bytes out to the destination.
typedef void copy_out(char *destination, const char *source, size_t count);

static void cached_copy_out(char *destination, const char *source, size_t count) { memcpy(destination, source, count); }

#if defined(__x86_64__)
// Around the caches, for whole lines at a multiple of their size: those need not be read before they are written.
static void streaming_copy_out(char *destination, const char *source, size_t count) {
  size_t done = 0;
  for (; done + 64 <= count; done += 64)
    for (size_t part = 0; part < 64; part += 16)
      _mm_stream_si128((__m128i *)(void *)(destination + done + part),
                       _mm_loadu_si128((const __m128i *)(const void *)(source + done + part)));
  if (done < count) memcpy(destination + done, source + done, count - done);
}
#endif

// A tile spans this many bytes of a source row and of a destination row. 256 was faster than 128 and 512 for elements of 2,
// 4 and 8 bytes (4 to 6 GiB/s beside a memcpy of 9.5 on one x86-64 server core, huge matrices); with single bytes such a tile would
// have 64 KiB, more than a first-level cache.
static size_t tile_row_bytes(size_t element) { return element == 1 ? 128 : 256; }
// The largest tile: 256 bytes by 128 elements of 2 bytes.
enum { tile_bytes = 256 * 128 };

// Transposes `rows` × `columns` elements into a tile whose rows are `pitch` bytes apart, in blocks. The next `ahead_bytes` of
// each row are asked for on the way.
static void transpose_tile(char *tile, ptrdiff_t pitch, const char *source, ptrdiff_t source_stride, size_t rows,
                           size_t columns, size_t element, const struct transposers *blocks, size_t ahead_bytes) {
  const size_t block_columns = columns - columns % blocks->of[0].columns;
  size_t r = 0;
  for (size_t k = 0; k < blocks->count; k++) {
    const struct transposer with = blocks->of[k];
    for (; r + with.rows <= rows; r += with.rows) {
      // The hardware foresees no rows that are pages apart: ask for the next tile's (a third faster).
      for (size_t ahead = r; ahead < r + with.rows; ahead++)
        for (size_t line = 0; line < ahead_bytes; line += 64)
          __builtin_prefetch(source + (ptrdiff_t)ahead * source_stride + columns * element + line);
      for (size_t c = 0; c < block_columns; c += with.columns)
        with.block(tile + (ptrdiff_t)c * pitch + r * element, pitch,
                   source + (ptrdiff_t)r * source_stride + c * element, source_stride);
    }
  }
  // The last rows fill no block: one more block ends with them, and writes some elements a second time. Copied one by one, the last 4
  // of 12 rows of 2 bytes took twice the time of the other 8.
  const struct transposer last = blocks->of[blocks->count - 1];
  if (r < rows && rows >= last.rows) {
    const size_t from = rows - last.rows;
    for (size_t c = 0; c < block_columns; c += last.columns)
      last.block(tile + (ptrdiff_t)c * pitch + from * element, pitch,
                 source + (ptrdiff_t)from * source_stride + c * element, source_stride);
    r = rows;
  }
  // What no block covers: the last rows, then the last columns of the rows that blocks cover.
  struct plane plane = {.destination = tile + r * element,
                        .source = source + (ptrdiff_t)r * source_stride,
                        .run = element,
                        .inner_count = rows - r,
                        .outer_count = columns,
                        .inner_source = source_stride,
                        .inner_destination = (ptrdiff_t)element,
                        .outer_source = (ptrdiff_t)element,
                        .outer_destination = pitch};
  if (plane.inner_count > 0) copy_plane(&plane);
  if (block_columns < columns && r > 0) {
    plane.destination = tile + (ptrdiff_t)block_columns * pitch;
    plane.source = source + block_columns * element;
    plane.inner_count = r;
    plane.outer_count = columns - block_columns;
    copy_plane(&plane);
  }
}

#if defined(__x86_64__)
// Transposes a plane whose rows become whole lines of the destination without a gap, as 32 layers of 16-bit elements do that
// take turns: each block goes from a line of every row to lines of the destination, around the caches and without a tile
// between.
//
// Out of a box in the second-level cache, 32 rows of 2 bytes, 512 MiB took 0.014 s of a processor that way where copying them took
// 0.012, and 0.021 through a tile (Zen 4). Rows whose distance is a power of two share few sets of the cache, and take 0.056.
static void stream_dense(const struct plane *plane, const struct transposer *with) {
  const size_t element = plane->run;
  const size_t dense_bytes = plane->inner_count * element;
  const size_t line_columns = 64 / element;
  const size_t block_columns = plane->outer_count - plane->outer_count % with->columns;
  for (size_t o0 = 0; o0 < block_columns; o0 += line_columns) {
    const size_t o1 = block_columns - o0 < line_columns ? block_columns : o0 + line_columns;
    for (size_t i = 0; i < plane->inner_count; i += with->rows)
      for (size_t o = o0; o < o1; o += with->columns)
        with->block(plane->destination + o * dense_bytes + i * element, (ptrdiff_t)dense_bytes,
                              plane->source + (ptrdiff_t)i * plane->inner_source + o * element, plane->inner_source);
  }
  if (block_columns == plane->outer_count) return;
  struct plane rest = *plane;
  rest.destination += block_columns * dense_bytes;
  rest.source += block_columns * element;
  rest.outer_count -= block_columns;
  copy_plane(&rest);
}
#endif

// Transposes a plane whose inner axis is contiguous in the destination and whose outer axis is in the source.
//
// A tile is transposed into a buffer of its own and copied out from there: with strides of a power of two, as most
// models have, the lines of a tile would otherwise evict each other from the few ways of one cache set.
static void transpose_plane(const struct plane *plane, const struct transposers *blocks, bool streams) {
  _Alignas(64) char tile[tile_bytes];
  const size_t element = plane->run;
  const size_t row_bytes = tile_row_bytes(element);
  const size_t steps = row_bytes / element;
  // Where few rows are interleaved without a gap, as by a stack on the inner axis, a tile is one piece of the destination: it
  // may be longer, and goes out at once.
  const size_t dense_bytes = plane->inner_count * element;
  const bool is_dense = dense_bytes <= row_bytes && plane->outer_destination == (ptrdiff_t)dense_bytes;
  const ptrdiff_t pitch = is_dense ? (ptrdiff_t)dense_bytes : (ptrdiff_t)row_bytes;
  const bool is_interleaved =
      is_dense && plane->inner_count >= 2 && plane->inner_count <= most_interleaved && element <= 8;
  const size_t column_steps = is_interleaved ? tile_bytes / 4 / dense_bytes / 64 * 64 : steps;
  copy_out *out = cached_copy_out;
#if defined(__x86_64__)
  // The tiles of a dense plane are whole lines long.
  const uintptr_t apart = (uintptr_t)plane->destination | (is_dense ? 0 : (uintptr_t)plane->outer_destination);
  const bool whole_lines = apart % 64 == 0;
  if (whole_lines && streams) {
    out = streaming_copy_out;
    if (is_dense && dense_bytes % 64 == 0 && blocks->streaming.block != NULL) {
      stream_dense(plane, &blocks->streaming);
      _mm_sfence();
      return;
    }
  }
#else
  (void)streams;
#endif
  for (size_t i0 = 0; i0 < plane->inner_count; i0 += steps) {
    const size_t rows = plane->inner_count - i0 < steps ? plane->inner_count - i0 : steps;
    for (size_t o0 = 0; o0 < plane->outer_count; o0 += column_steps) {
      const size_t columns = plane->outer_count - o0 < column_steps ? plane->outer_count - o0 : column_steps;
      const char *source = plane->source + (ptrdiff_t)i0 * plane->inner_source + (ptrdiff_t)(o0 * element);
      char *destination =
          plane->destination + (ptrdiff_t)(i0 * element) + (ptrdiff_t)o0 * plane->outer_destination;
      if (is_interleaved)
        interleave_rows(tile, source, plane->inner_source, rows, columns, element);
      else
        transpose_tile(tile, pitch, source, plane->inner_source, rows, columns, element, blocks,
                       o0 + 2 * column_steps <= plane->outer_count ? row_bytes : 0);
      if (is_dense) {
        out(destination, tile, columns * dense_bytes);
      } else {
        for (size_t c = 0; c < columns; c++)
          out(destination + (ptrdiff_t)c * plane->outer_destination, tile + (ptrdiff_t)c * pitch, rows * element);
      }
    }
  }
#if defined(__x86_64__)
  // Whoever is told that the bytes are there must see them.
  if (out == streaming_copy_out) _mm_sfence();
#endif
}

// ---- Placing bytes --------------------------------------------------------------------------------------------------

// Runs at least this long use whole cache lines whatever the order, so tiles gain nothing.
enum { long_run_bytes = 64 };

#if defined(__x86_64__)
// Runs of whole lines, to lines, around the caches; a fence belongs behind the last of them.
static void stream_plane(const struct plane *plane) {
  for (size_t o = 0; o < plane->outer_count; o++)
    for (size_t i = 0; i < plane->inner_count; i++)
      streaming_copy_out(
          plane->destination + (ptrdiff_t)o * plane->outer_destination + (ptrdiff_t)i * plane->inner_destination,
          plane->source + (ptrdiff_t)o * plane->outer_source + (ptrdiff_t)i * plane->inner_source, plane->run);
}

static bool has_whole_lines(const struct plane *plane) {
  return (plane->run | (uintptr_t)plane->destination | (uintptr_t)plane->inner_destination |
          (uintptr_t)plane->outer_destination) % 64 == 0;
}
#endif

// A copy of so many bytes, into a memory of so many, leaves none of them in the caches for whoever uses them next, so lines
// are streamed: they need not be read before they are written. Small parts of a large result count as it does.
enum { streaming_copy_bytes = 4 << 20, streaming_destination_bytes = 32 << 20 };

static bool is_streamed(const struct simple_copy *copy, size_t destination_size) {
  size_t bytes = copy->run;
  for (size_t a = 0; a < copy->rank; a++) bytes *= copy->axes[a].count;
  return bytes >= streaming_copy_bytes || (destination_size >= streaming_destination_bytes && bytes >= 64 << 10);
}

static void place_simple(struct simple_copy *copy, char *destination, const char *source, enum graft_variant variant,
                         bool streams) {
  if (copy->rank == 0) {
    memcpy(destination + copy->destination, source + copy->source, copy->run);
    return;
  }
  // The last axis is the tightest in the destination; look for the one that is in the source.
  const struct graft_copy_axis inner = copy->axes[--copy->rank];
  struct plane plane = {.run = copy->run,
                        .inner_count = inner.count,
                        .outer_count = 1,
                        .inner_source = inner.source_stride,
                        .inner_destination = inner.destination_stride};
  struct transposers blocks = {.count = 0};
  if (copy->run < long_run_bytes && copy->rank > 0) {
    size_t tightest = copy->rank;
    size_t stride = (size_t)(inner.source_stride < 0 ? -inner.source_stride : inner.source_stride);
    for (size_t a = 0; a < copy->rank; a++) {
      const ptrdiff_t signed_stride = copy->axes[a].source_stride;
      const size_t other = (size_t)(signed_stride < 0 ? -signed_stride : signed_stride);
      if (other < stride) {
        stride = other;
        tightest = a;
      }
    }
    if (tightest < copy->rank) {
      plane.outer_count = copy->axes[tightest].count;
      plane.outer_source = copy->axes[tightest].source_stride;
      plane.outer_destination = copy->axes[tightest].destination_stride;
      remove_axis(copy, tightest);
      if (plane.outer_source == (ptrdiff_t)plane.run && plane.inner_destination == (ptrdiff_t)plane.run)
        blocks = transposers_for(plane.run, variant);
    }
  }
  size_t index[GRAFT_COPY_RANK_LIMIT] = {0};
  ptrdiff_t from = copy->source, to = copy->destination;
  do {
    plane.source = source + from;
    plane.destination = destination + to;
    if (blocks.count > 0)
      transpose_plane(&plane, &blocks, streams);
#if defined(__x86_64__)
    else if (streams && has_whole_lines(&plane))
      stream_plane(&plane);
#endif
    else
      copy_plane(&plane);
  } while (advance(copy, index, &from, &to));
#if defined(__x86_64__)
  if (streams) _mm_sfence();
#endif
}

int graft_place_as(enum graft_variant variant, const struct graft_copy *copy, void *destination,
                   size_t destination_size, const void *source, size_t source_size) {
  if (!graft_variant_is_supported(variant)) return -ENOTSUP;
  struct simple_copy simple;
  const int rc = simplify(&simple, copy, destination, destination_size, source, source_size, 0);
  if (rc != 0) return rc < 0 ? rc : 0;
  place_simple(&simple, destination, source, variant, is_streamed(&simple, destination_size));
  return 0;
}

int graft_place(const struct graft_copy *copy, void *destination, size_t destination_size, const void *source,
                size_t source_size) {
  return graft_place_as(graft_variant_best(), copy, destination, destination_size, source, source_size);
}

// ---- Placing bits ---------------------------------------------------------------------------------------------------

// Up to 8 bits that begin at bit `at`, in the low bits of the result; reads only the bytes that hold them.
static unsigned load_bits(const uint8_t *source, size_t at, unsigned count) {
  const size_t byte = at / 8;
  const unsigned shift = at % 8;
  unsigned bits = (unsigned)source[byte] >> shift;
  if (shift + count > 8) bits |= (unsigned)source[byte + 1] << (8 - shift);
  return bits & ((1u << count) - 1);
}

// Stores up to 8 bits at bit `at`, keeping the bits around them.
static void store_bits(uint8_t *destination, size_t at, unsigned count, unsigned bits) {
  const size_t byte = at / 8;
  const unsigned shift = at % 8;
  const unsigned mask = ((1u << count) - 1) << shift;
  const unsigned moved = bits << shift;
  destination[byte] = (uint8_t)((destination[byte] & ~mask) | (moved & mask));
  if (shift + count > 8)
    destination[byte + 1] = (uint8_t)((destination[byte + 1] & ~(mask >> 8)) | ((moved & mask) >> 8));
}

static void copy_bits(uint8_t *destination, size_t to, const uint8_t *source, size_t from, size_t count) {
  // Up to the first whole byte of the destination.
  if (to % 8 != 0) {
    const unsigned head = (unsigned)(8 - to % 8 < count ? 8 - to % 8 : count);
    store_bits(destination, to, head, load_bits(source, from, head));
    to += head, from += head, count -= head;
  }
  const unsigned shift = from % 8;
  size_t bytes = count / 8;
  uint8_t *out = destination + to / 8;
  const uint8_t *in = source + from / 8;
  if (shift == 0) {
    if (bytes > 0) memcpy(out, in, bytes);
  } else {
    size_t i = 0;
    // Eight bytes at a time from nine; the last bits always come from a ninth byte that the run reaches into.
    for (; i + 8 <= bytes; i += 8) {
      uint8_t word[8];
      for (unsigned b = 0; b < 8; b++)
        word[b] = (uint8_t)((unsigned)in[i + b] >> shift | (unsigned)in[i + b + 1] << (8 - shift));
      memcpy(out + i, word, 8);
    }
    for (; i < bytes; i++) out[i] = (uint8_t)((unsigned)in[i] >> shift | (unsigned)in[i + 1] << (8 - shift));
  }
  const unsigned tail = count % 8;
  if (tail > 0) store_bits(destination, to + bytes * 8, tail, load_bits(source, from + bytes * 8, tail));
}

// Turns a copy in bits into one in bytes; false, having changed nothing, when a figure is no whole number of bytes.
static bool make_bytes(struct simple_copy *copy) {
  if (copy->run % 8 != 0 || copy->source % 8 != 0 || copy->destination % 8 != 0) return false;
  for (size_t a = 0; a < copy->rank; a++)
    if (copy->axes[a].source_stride % 8 != 0 || copy->axes[a].destination_stride % 8 != 0) return false;
  copy->run /= 8;
  copy->source /= 8;
  copy->destination /= 8;
  for (size_t a = 0; a < copy->rank; a++) {
    copy->axes[a].source_stride /= 8;
    copy->axes[a].destination_stride /= 8;
  }
  return true;
}

int graft_place_bits(const struct graft_copy *copy, void *destination, size_t destination_size, const void *source,
                     size_t source_size) {
  struct simple_copy simple;
  const int rc = simplify(&simple, copy, destination, destination_size, source, source_size, 3);
  if (rc != 0) return rc < 0 ? rc : 0;
  if (make_bytes(&simple)) {
    place_simple(&simple, destination, source, graft_variant_best(), is_streamed(&simple, destination_size));
    return 0;
  }
  size_t index[GRAFT_COPY_RANK_LIMIT] = {0};
  ptrdiff_t from = simple.source, to = simple.destination;
  do {
    if (simple.run <= 8)
      store_bits(destination, (size_t)to, (unsigned)simple.run,
                 load_bits(source, (size_t)from, (unsigned)simple.run));
    else
      copy_bits(destination, (size_t)to, source, (size_t)from, simple.run);
  } while (advance(&simple, index, &from, &to));
  return 0;
}
