// Frames of zstd that hold nothing but Huffman-coded literals, written without zstd. Private to this target.
//
// zstd's own encoder comes to about 1 GB/s a core however little it searches, because it codes one byte after another. Here two bytes
// are looked up at once and four streams are written side by side, and code lengths come from a sample.
#ifndef GRAFT_HUFFMAN_H
#define GRAFT_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>

// The memory of an encoder: tables, and room for a block's streams.
struct graft_huffman;

// NULL without memory. Released by free().
struct graft_huffman *graft_huffman_open(void);

size_t graft_huffman_memory(void);

// Fewer bytes than this are zstd's own affair: a code's description takes up to 128 bytes.
enum { GRAFT_HUFFMAN_SHORTEST = 4096 };

// What stands in front of a frame's blocks, at most, and in front of each.
enum { GRAFT_HUFFMAN_FRAME_HEADER = 14, GRAFT_HUFFMAN_BLOCK_HEADER = 3 };

// Writes a frame of GRAFT_HUFFMAN_SHORTEST bytes or more. Its bytes, or 0 where it takes more than `room`, or where the sample says
// that codes make nothing smaller and `stores` does not ask for a frame nevertheless.
size_t graft_huffman_frame(
    struct graft_huffman *encoder, const void *source, size_t count, void *destination, size_t room, int stores);

#endif
