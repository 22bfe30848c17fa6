// How the kernels of this folder cast blocks of elements for one another.

#ifndef GRAFT_CAST_H
#define GRAFT_CAST_H

#include "variants.h"

struct cast_loops;

// Converts some elements; the loops of cast_loops.h, whose source and destination are of types that each knows.
typedef void cast_loop(void *restrict destination, const void *restrict source, size_t count);

// How to get from one format to another, decided once for many blocks.
struct cast_route {
  const struct cast_loops *loops;
  struct graft_format from, to;
  // From the source to a type in between, and from there on. One or both are null where that type is the source's or
  // the destination's own.
  cast_loop *first, *second;
  // How many numbers an element is to the loops: 2 where complex numbers are converted part by part.
  unsigned parts;
};

// Whether a format's dtype is one that there is.
bool format_is_known(struct graft_format format);

// The route from one known format to another, with a variant's instructions.
struct cast_route cast_route_between(enum graft_variant variant, struct graft_format from, struct graft_format to);

// Casts `count` elements; the memories do not overlap.
void cast_along(const struct cast_route *route, void *destination, const void *source, size_t count);

#endif
