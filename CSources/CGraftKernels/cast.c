// Casts between all dtypes.
//
// There are too many pairs for a loop each, so a cast goes by way of one of a few types in between that holds every value of the
// source exactly (float32, float64, int32, int64), and is rounded once, on the way from there:
//
//   packed bits ─unpack─▶ source ─first─▶ type in between ─second─▶ destination ─pack─▶ packed bits
//
// Where the type in between is the source's or the destination's own, which all of the frequent pairs have, there is one
// step alone and it runs over the whole tile. Otherwise blocks go through scratch memory in the first-level cache.

#include "cast.h"

#include "cast_elements.h"

#include <errno.h>

struct cast_loops {
  cast_loop *to_f32[GRAFT_DTYPE_COUNT], *to_f64[GRAFT_DTYPE_COUNT], *to_i32[GRAFT_DTYPE_COUNT],
      *to_i64[GRAFT_DTYPE_COUNT];
  cast_loop *from_f32[GRAFT_DTYPE_COUNT], *from_f64[GRAFT_DTYPE_COUNT], *from_i32[GRAFT_DTYPE_COUNT],
      *from_i64[GRAFT_DTYPE_COUNT], *floats_from_u64[GRAFT_DTYPE_COUNT];
  cast_loop *bool_of_c64, *bool_of_c128;
  cast_loop *unpack_4_pairs, *pack_4_pairs;
};

#define VARIANT_LOOPS "cast_loops.h"
#include "for_each_variant.h"

// ---- Variants -------------------------------------------------------------------------------------------------------

bool graft_variant_is_supported(enum graft_variant variant) {
  switch (variant) {
    case GRAFT_PORTABLE: return true;
#if GRAFT_HAS_X86_VARIANTS
    case GRAFT_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
    case GRAFT_AVX512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("f16c");
#endif
    default: return false;
  }
}

enum graft_variant graft_variant_best(void) {
  if (graft_variant_is_supported(GRAFT_AVX512)) return GRAFT_AVX512;
  return graft_variant_is_supported(GRAFT_AVX2) ? GRAFT_AVX2 : GRAFT_PORTABLE;
}

// ---- Packed elements ------------------------------------------------------------------------------------------------

// Gives each of `count` packed elements a byte of its own.
static void unpack(const struct cast_loops *loops, unsigned width, uint8_t *destination, const uint8_t *source,
                   size_t count) {
  if (width == 4) {
    loops->unpack_4_pairs(destination, source, count / 2);
    if (count % 2 != 0) destination[count - 1] = source[count / 2] & 15;
    return;
  }
  // Four elements of 6 bits are three bytes.
  size_t i = 0;
  for (; i + 4 <= count; i += 4, source += 3) {
    const uint32_t word = source[0] | (uint32_t)source[1] << 8 | (uint32_t)source[2] << 16;
    for (unsigned part = 0; part < 4; part++) destination[i + part] = (uint8_t)(word >> 6 * part & 63);
  }
  for (size_t bit = 0; i < count; i++, bit += 6) {
    unsigned code = (unsigned)source[bit / 8] >> bit % 8;
    if (bit % 8 > 2) code |= (unsigned)source[bit / 8 + 1] << (8 - bit % 8);
    destination[i] = (uint8_t)(code & 63);
  }
}

// The inverse; the bits after the last element become 0.
static void pack(const struct cast_loops *loops, unsigned width, uint8_t *destination, const uint8_t *source,
                 size_t count) {
  if (width == 4) {
    loops->pack_4_pairs(destination, source, count / 2);
    if (count % 2 != 0) destination[count / 2] = source[count - 1] & 15;
    return;
  }
  size_t i = 0;
  for (; i + 4 <= count; i += 4, destination += 3) {
    uint32_t word = 0;
    for (unsigned part = 0; part < 4; part++) word |= (uint32_t)(source[i + part] & 63) << 6 * part;
    for (unsigned byte = 0; byte < 3; byte++) destination[byte] = (uint8_t)(word >> 8 * byte);
  }
  if (i == count) return;
  uint32_t word = 0;
  const size_t rest = count - i;
  for (size_t part = 0; part < rest; part++) word |= (uint32_t)(source[i + part] & 63) << 6 * part;
  for (size_t byte = 0; byte < (rest * 6 + 7) / 8; byte++) destination[byte] = (uint8_t)(word >> 8 * byte);
}

// ---- Routes ---------------------------------------------------------------------------------------------------------

static bool is_complex(unsigned dtype) { return dtype == GRAFT_COMPLEX64 || dtype == GRAFT_COMPLEX128; }
static bool is_integer(unsigned dtype) { return dtype <= GRAFT_UINT64; }  // bool among them
static bool is_wide_integer(unsigned dtype) { return dtype == GRAFT_INT64 || dtype == GRAFT_UINT64; }

bool format_is_known(struct graft_format format) { return format.dtype < GRAFT_DTYPE_COUNT; }

struct cast_route cast_route_between(enum graft_variant variant, struct graft_format from, struct graft_format to) {
  const struct cast_loops *loops = GRAFT_OF_VARIANT(variant, cast_loops);
  struct cast_route route = {.loops = loops, .from = from, .to = to, .parts = 1};
  const unsigned source = from.dtype, destination = to.dtype;
  if (source == destination) return route;
  if (is_complex(source)) {
    const bool is_wide = source == GRAFT_COMPLEX128;
    if (is_complex(destination)) {
      route.second = is_wide ? loops->from_f64[GRAFT_FLOAT32] : loops->from_f32[GRAFT_FLOAT64];
      route.parts = 2;
    } else if (destination == GRAFT_BOOL) {
      route.first = is_wide ? loops->bool_of_c128 : loops->bool_of_c64;
    } else {
      route.first = is_wide ? loops->to_f64[source] : loops->to_f32[source];
      route.second = is_wide ? loops->from_f64[destination] : loops->from_f32[destination];
    }
  } else if (is_integer(source) && is_integer(destination)) {
    const bool is_wide = is_wide_integer(source) || is_wide_integer(destination);
    route.first = is_wide ? loops->to_i64[source] : loops->to_i32[source];
    route.second = is_wide ? loops->from_i64[destination] : loops->from_i32[destination];
  } else if (is_wide_integer(source)) {
    route.second = source == GRAFT_INT64 ? loops->from_i64[destination] : loops->floats_from_u64[destination];
  } else if (source == GRAFT_INT32 || source == GRAFT_UINT32 || source == GRAFT_FLOAT64) {
    route.first = loops->to_f64[source];
    route.second = loops->from_f64[destination];
  } else {
    route.first = loops->to_f32[source];
    route.second = loops->from_f32[destination];
  }
  return route;
}

void cast_along(const struct cast_route *route, void *destination, const void *source, size_t count) {
  const unsigned from_width = stored_bit_width(route->from), to_width = stored_bit_width(route->to);
  const bool is_copy = route->first == NULL && route->second == NULL;
  const unsigned own_width = stored_bit_width((struct graft_format){.dtype = route->from.dtype});
  // A byte that is no truth value becomes one, and bits that belong to no element are dropped: neither is a plain copy.
  if (is_copy && own_width >= 8 && route->from.dtype != GRAFT_BOOL) {
    memcpy(destination, source, stored_byte_count(route->from, count));
    return;
  }
  const bool is_one_step = (route->first == NULL) != (route->second == NULL);
  if (is_one_step && from_width >= 8 && to_width >= 8) {
    (route->first != NULL ? route->first : route->second)(destination, source, count * route->parts);
    return;
  }
  uint8_t unpacked[block_count], packed[block_count];
  uint64_t between[block_count];
  for (size_t done = 0; done < count; done += block_count) {
    const size_t some = count - done < block_count ? count - done : block_count;
    const void *from = (const uint8_t *)source + stored_byte_count(route->from, done);
    void *const place = (uint8_t *)destination + stored_byte_count(route->to, done);
    void *const to = to_width < 8 ? packed : place;
    if (from_width < 8) {
      unpack(route->loops, from_width, unpacked, from, some);
      from = unpacked;
    }
    if (route->first != NULL && route->second != NULL) {
      route->first(between, from, some);
      route->second(to, between, some);
    } else if (!is_copy) {
      (route->first != NULL ? route->first : route->second)(to, from, some * route->parts);
    } else if (route->from.dtype == GRAFT_BOOL) {
      for (size_t i = 0; i < some; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i] != 0;
    } else {
      const unsigned mask = own_width == 4 ? 15 : 63;
      for (size_t i = 0; i < some; i++) ((uint8_t *)to)[i] = (uint8_t)(((const uint8_t *)from)[i] & mask);
    }
    if (to_width < 8) pack(route->loops, to_width, place, packed, some);
  }
}

int graft_cast(enum graft_variant variant, void *destination, struct graft_format destination_format,
               const void *source, struct graft_format source_format, size_t count) {
  if (!format_is_known(destination_format) || !format_is_known(source_format)) return -EINVAL;
  if (!graft_variant_is_supported(variant)) return -ENOTSUP;
  if (count == 0) return 0;
  if (destination == NULL || source == NULL ||
      memories_overlap(destination, stored_byte_count(destination_format, count), source,
                       stored_byte_count(source_format, count)))
    return -EINVAL;
  const struct cast_route route = cast_route_between(variant, source_format, destination_format);
  cast_along(&route, destination, source, count);
  return 0;
}
