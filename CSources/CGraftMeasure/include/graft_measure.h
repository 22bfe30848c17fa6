// The inner loops of the ceilings that Graft is compared with, as plain as they can be.
#ifndef GRAFT_MEASURE_H
#define GRAFT_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

// Whether this processor has stores that go around its caches, as far as this file knows how to use them.
bool graft_measure_has_streaming_stores(void);

// Copies `count` bytes between ranges that do not overlap, with stores that go around the caches where there are such,
// else as memcpy does. Total.
void graft_measure_copy_streaming(void *destination, const void *source, size_t count);

#endif
