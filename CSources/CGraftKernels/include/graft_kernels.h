// The kernels that touch tensor bytes: what they promise. Every function here is total (any argument is either served
// or refused before a byte is touched), allocates nothing, keeps no state and may run on many threads at once.

#ifndef GRAFT_KERNELS_H
#define GRAFT_KERNELS_H

#include "graft_compute.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The most axes that a copy may have; Limits.rank in Swift is the same number.
#define GRAFT_COPY_RANK_LIMIT 64

// One axis of a strided copy: how often, and how far apart on either side. A stride may be negative (a reversed axis);
// a source stride of 0 repeats the source (a broadcast).
struct graft_copy_axis {
  size_t count;
  ptrdiff_t source_stride;
  ptrdiff_t destination_stride;
};

// A strided copy: for every index over the axes, `run` units go from
// source_offset + sum(index[a] * source_stride[a]) to destination_offset + sum(index[a] * destination_stride[a]).
// All figures but the counts are in units: bytes for graft_place, bits for graft_place_bits. The order of the axes is
// of no consequence: the copy runs in whatever order is fastest.
struct graft_copy {
  size_t run;
  size_t source_offset;
  size_t destination_offset;
  size_t rank;
  const struct graft_copy_axis *axes;  // may be null when rank is 0
};

// Places bytes as `copy` says, in units of bytes.
//
// `destination` and `source` are the whole memories, `destination_size` and `source_size` bytes long, that the copy must
// stay within. Where runs overlap in the destination (a destination stride of 0, say), it is unspecified which one stays.
//
// Returns 0; or, having touched nothing:
//   -EINVAL  rank above GRAFT_COPY_RANK_LIMIT, a null pointer where bytes are wanted, or the part of the source
//            that is read and the part of the destination that is written overlap
//   -ERANGE  the copy reaches outside the source or the destination, or its figures overflow
// A copy of no bytes (a count or the run is 0) returns 0 whatever its offsets and strides.
int graft_place(const struct graft_copy *copy, void *destination, size_t destination_size, const void *source,
                size_t source_size);

// As graft_place, with a variant's instructions, where graft_place takes the widest that there are; for tests and comparisons.
//
// Also returns -ENOTSUP, having touched nothing, for instructions that this processor lacks.
int graft_place_as(enum graft_variant variant, const struct graft_copy *copy, void *destination,
                   size_t destination_size, const void *source, size_t source_size);

// Places packed elements as `copy` says, in units of bits: bit b of a memory is bit b % 8, counted from the least
// significant one, of its byte b / 8. Sizes stay in bytes. Contract and results are those of graft_place.
//
// Bits around the copied ones are kept. A destination byte that is copied in part is read and written back, so two
// threads must not place into the same byte at once.
int graft_place_bits(const struct graft_copy *copy, void *destination, size_t destination_size, const void *source,
                     size_t source_size);

#ifdef __cplusplus
}
#endif

#endif
