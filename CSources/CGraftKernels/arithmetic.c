// Elementwise arithmetic: operands are cast to the dtype that is computed in, block by block in the first-level cache, and
// the result from there to the destination's. Operands and destinations of that dtype are used where they are.

#include "cast.h"

#include <errno.h>

// The scalars of an operation, as floats and as integers modulo 2^64.
struct scalars {
  double real_s, real_t;
  uint64_t whole_s, whole_t;
};

typedef void compute_loop(void *destination, const void *a, const void *b, const struct scalars *scalars, size_t count);

// ---- What the loops are made of -------------------------------------------------------------------------------------

#define DIVIDED(X, Y) ((X) / (Y))

// Rounded down, as NumPy's floor_divide; 0 where the divisor is. The lowest integer divided by -1 wraps around to itself.
#define SIGNED_DIVISION(NAME, SIGNED, UNSIGNED)                             \
  GRAFT_INLINE UNSIGNED NAME(UNSIGNED dividend, UNSIGNED divisor) {         \
    const SIGNED x = (SIGNED)dividend, y = (SIGNED)divisor;                 \
    if (y == 0) return 0;                                                   \
    if (y == -1) return 0 - dividend;                                       \
    return (UNSIGNED)(x / y - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0));  \
  }
SIGNED_DIVISION(divided_i32, int32_t, uint32_t)
SIGNED_DIVISION(divided_i64, int64_t, uint64_t)
GRAFT_INLINE uint32_t divided_u32(uint32_t x, uint32_t y) { return y == 0 ? 0 : x / y; }
GRAFT_INLINE uint64_t divided_u64(uint64_t x, uint64_t y) { return y == 0 ? 0 : x / y; }

// The quotient by Smith's method, step for step as NumPy takes it: with the larger part of the divisor divided out first,
// squares can neither overflow nor vanish.
#define COMPLEX_FUNCTIONS(NAME, NUMBER, ABSOLUTE)                                                        \
  GRAFT_INLINE void multiplied_##NAME(NUMBER z[2], const NUMBER x[2], const NUMBER y[2]) {               \
    z[0] = x[0] * y[0] - x[1] * y[1];                                                                    \
    z[1] = x[0] * y[1] + x[1] * y[0];                                                                    \
  }                                                                                                      \
  GRAFT_INLINE void divided_##NAME(NUMBER z[2], const NUMBER x[2], const NUMBER y[2]) {                  \
    const NUMBER real = ABSOLUTE(y[0]), imaginary = ABSOLUTE(y[1]);                                      \
    if (real >= imaginary) {                                                                             \
      if (real == 0 && imaginary == 0) {                                                                 \
        z[0] = x[0] / real, z[1] = x[1] / real;                                                          \
        return;                                                                                          \
      }                                                                                                  \
      const NUMBER ratio = y[1] / y[0];                                                                  \
      const NUMBER inverse = 1 / (y[0] + y[1] * ratio);                                                  \
      z[0] = (x[0] + x[1] * ratio) * inverse, z[1] = (x[1] - x[0] * ratio) * inverse;                    \
    } else {                                                                                             \
      const NUMBER ratio = y[0] / y[1];                                                                  \
      const NUMBER inverse = 1 / (y[1] + y[0] * ratio);                                                  \
      z[0] = (x[0] * ratio + x[1]) * inverse, z[1] = (x[1] * ratio - x[0]) * inverse;                    \
    }                                                                                                    \
  }
COMPLEX_FUNCTIONS(c64, float, __builtin_fabsf)
COMPLEX_FUNCTIONS(c128, double, __builtin_fabs)

#define VARIANT_LOOPS "arithmetic_loops.h"
#include "for_each_variant.h"

// ---- Computing ------------------------------------------------------------------------------------------------------

// The loop for an operation, null where it is not served, and how many numbers an element is to it.
static compute_loop *loop_for(enum graft_variant variant, enum graft_dtype dtype, enum graft_operation operation,
                              unsigned *parts) {
  *parts = 1;
  if ((dtype == GRAFT_COMPLEX64 || dtype == GRAFT_COMPLEX128) && operation != GRAFT_MULTIPLY &&
      operation != GRAFT_DIVIDE) {
    *parts = 2;
    dtype = dtype == GRAFT_COMPLEX64 ? GRAFT_FLOAT32 : GRAFT_FLOAT64;
  }
  return (*GRAFT_OF_VARIANT(variant, compute_loops))[dtype][operation];
}

static bool is_whole(double scalar) {
  return scalar >= -0x1p53 && scalar <= 0x1p53 && (double)(int64_t)scalar == scalar;
}

static bool is_same_format(struct graft_format a, struct graft_format b) {
  return a.dtype == b.dtype && stored_bit_width(a) == stored_bit_width(b);
}

// Whether the destination is where the operand is, element by element, or elsewhere altogether.
static bool is_apart_or_same(const void *destination, struct graft_format format, struct graft_operand operand,
                             size_t count) {
  if (destination == operand.elements && is_same_format(format, operand.format)) return true;
  return !memories_overlap(destination, stored_byte_count(format, count), operand.elements,
                           stored_byte_count(operand.format, count));
}

static bool is_unary(enum graft_operation operation) {
  return operation == GRAFT_SCALE || operation == GRAFT_UNSCALE;
}

int graft_compute(enum graft_variant variant, enum graft_operation operation, enum graft_dtype computed_in,
                  void *destination, struct graft_format destination_format, struct graft_operand a,
                  struct graft_operand b, double s, double t, size_t count) {
  if ((unsigned)operation >= GRAFT_OPERATION_COUNT || (unsigned)computed_in >= GRAFT_DTYPE_COUNT) return -EINVAL;
  if (is_unary(operation)) b = a;
  if (!format_is_known(destination_format) || !format_is_known(a.format) || !format_is_known(b.format)) return -EINVAL;
  if (!graft_variant_is_supported(variant)) return -ENOTSUP;
  unsigned parts;
  compute_loop *const loop = loop_for(variant, computed_in, operation, &parts);
  if (loop == NULL) return -ENOTSUP;
  const bool is_integral = computed_in <= GRAFT_UINT64;
  if (is_integral && (!is_whole(s) || !is_whole(t))) return -EINVAL;
  if (count == 0) return 0;
  if (destination == NULL || a.elements == NULL || b.elements == NULL ||
      !is_apart_or_same(destination, destination_format, a, count) ||
      !is_apart_or_same(destination, destination_format, b, count))
    return -EINVAL;

  const struct scalars scalars = {.real_s = s,
                                  .real_t = t,
                                  .whole_s = is_integral ? (uint64_t)(int64_t)s : 0,
                                  .whole_t = is_integral ? (uint64_t)(int64_t)t : 0};
  const struct graft_format computed = {.dtype = (uint8_t)computed_in};
  const bool is_a_direct = a.format.dtype == computed_in, is_b_direct = b.format.dtype == computed_in;
  const bool is_destination_direct = destination_format.dtype == computed_in;
  if (is_a_direct && is_b_direct && is_destination_direct) {
    loop(destination, a.elements, b.elements, &scalars, count * parts);
    return 0;
  }
  const struct cast_route from_a = cast_route_between(variant, a.format, computed);
  const struct cast_route from_b = cast_route_between(variant, b.format, computed);
  const struct cast_route to_destination = cast_route_between(variant, computed, destination_format);
  _Alignas(64) uint8_t left[block_count * widest_element], right[block_count * widest_element];
  // One operand twice is cast once.
  const bool is_one_operand = a.elements == b.elements && is_same_format(a.format, b.format);
  for (size_t done = 0; done < count; done += block_count) {
    const size_t some = count - done < block_count ? count - done : block_count;
    const void *x = (const uint8_t *)a.elements + stored_byte_count(a.format, done);
    const void *y = (const uint8_t *)b.elements + stored_byte_count(b.format, done);
    void *const to = (uint8_t *)destination + stored_byte_count(destination_format, done);
    if (!is_a_direct) {
      cast_along(&from_a, left, x, some);
      x = left;
    }
    if (is_one_operand) {
      y = x;
    } else if (!is_b_direct) {
      cast_along(&from_b, right, y, some);
      y = right;
    }
    if (is_destination_direct) {
      loop(to, x, y, &scalars, some * parts);
    } else {
      loop(left, x, y, &scalars, some * parts);
      cast_along(&to_destination, to, left, some);
    }
  }
  return 0;
}
