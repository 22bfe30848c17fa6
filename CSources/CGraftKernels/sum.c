// Sums of products without rounding, so that neither tiles nor threads nor instructions can change a bit of them.
//
// A float is an integer times a power of two, and so is a product of two. Products of float32 are 48 bits, with 507 exponents:
// they are added up in one 64-bit integer for each exponent, and those go into the sum every so often. Products of float64
// go into the sum one by one, which is slower and rarer.

#include "cast.h"

#include <errno.h>

// The sum's unit is 2^-unit: the product of the two smallest float64.
enum { unit = 2148 };

// ---- The sum --------------------------------------------------------------------------------------------------------

// Adds or subtracts magnitude × 2^shift units.
static void add_shifted(struct graft_sum *sum, unsigned shift, unsigned __int128 magnitude, bool is_negative) {
  const unsigned word = shift / 64, bit = shift % 64;
  const uint64_t low = (uint64_t)magnitude, high = (uint64_t)(magnitude >> 64);
  const uint64_t parts[3] = {low << bit, bit == 0 ? high : high << bit | low >> (64 - bit),
                             bit == 0 ? 0 : high >> (64 - bit)};
  bool carry = false;
  for (unsigned i = 0; word + i < GRAFT_SUM_WORDS && (i < 3 || carry); i++) {
    uint64_t *const place = &sum->words[word + i];
    const uint64_t part = i < 3 ? parts[i] : 0;
    uint64_t step;
    const bool first = is_negative ? __builtin_sub_overflow(*place, part, &step) : __builtin_add_overflow(*place, part, &step);
    const bool second = is_negative ? __builtin_sub_overflow(step, (uint64_t)carry, place)
                                    : __builtin_add_overflow(step, (uint64_t)carry, place);
    carry = first || second;
  }
}

void graft_sum_merge(struct graft_sum *sum, const struct graft_sum *other) {
  bool carry = false;
  for (unsigned i = 0; i < GRAFT_SUM_WORDS; i++) {
    uint64_t step;
    const bool first = __builtin_add_overflow(sum->words[i], other->words[i], &step);
    carry = first | __builtin_add_overflow(step, (uint64_t)carry, &sum->words[i]);
  }
  sum->nan_count += other->nan_count;
  sum->positive_infinity_count += other->positive_infinity_count;
  sum->negative_infinity_count += other->negative_infinity_count;
}

static bool bit_at(const uint64_t *words, unsigned position) { return words[position / 64] >> position % 64 & 1; }

double graft_sum_value(const struct graft_sum *sum) {
  const uint64_t infinity = 0x7FF0000000000000, nan = 0x7FF8000000000000;
  if (sum->nan_count > 0 || (sum->positive_infinity_count > 0 && sum->negative_infinity_count > 0))
    return f64_of_bits(nan);
  if (sum->positive_infinity_count > 0) return f64_of_bits(infinity);
  const uint64_t sign_bit = (uint64_t)1 << 63;
  if (sum->negative_infinity_count > 0) return f64_of_bits(sign_bit | infinity);

  const uint64_t sign = sum->words[GRAFT_SUM_WORDS - 1] & sign_bit;
  uint64_t magnitude[GRAFT_SUM_WORDS];
  bool carry = sign != 0;
  for (unsigned i = 0; i < GRAFT_SUM_WORDS; i++) {
    const uint64_t word = sign != 0 ? ~sum->words[i] : sum->words[i];
    carry = __builtin_add_overflow(word, (uint64_t)carry, &magnitude[i]);
  }
  unsigned top_word = GRAFT_SUM_WORDS;
  while (top_word > 0 && magnitude[top_word - 1] == 0) top_word--;
  if (top_word == 0) return 0;
  const unsigned top = top_word * 64 - 1 - (unsigned)__builtin_clzll(magnitude[top_word - 1]);
  // The place of the result's last bit: 52 below the first, but not below the smallest float64, 2^-1074.
  const unsigned smallest = unit - 1074;
  const unsigned last = top > smallest + 52 ? top - 52 : smallest;
  uint64_t significand = 0;
  for (unsigned i = 0; i < 53; i++) {
    const unsigned position = last + 52 - i;
    significand = significand << 1 | (position <= top ? bit_at(magnitude, position) : 0);
  }
  const bool half = bit_at(magnitude, last - 1);
  bool below = false;
  for (unsigned i = 0; i < (last - 1) / 64 && !below; i++) below = magnitude[i] != 0;
  below = below || (magnitude[(last - 1) / 64] & (((uint64_t)1 << (last - 1) % 64) - 1)) != 0;
  if (half && (below || (significand & 1) != 0)) significand++;
  // A significand of 2^53 is one of 2^52 with the next exponent, which the addition sees to.
  const uint64_t implied = (uint64_t)1 << 52;
  if (significand < implied) return f64_of_bits(sign | significand);
  const uint64_t exponent = last - smallest + 1;
  const uint64_t bits = (exponent << 52) + (significand - implied);
  return f64_of_bits(sign | (exponent >= 2047 || bits >= infinity ? infinity : bits));
}

// ---- Adding products ------------------------------------------------------------------------------------------------

// Counts a product of which a factor is not finite.
static void add_special(struct graft_sum *sum, double product) {
  if (product != product)
    sum->nan_count++;
  else if (product > 0)
    sum->positive_infinity_count++;
  else
    sum->negative_infinity_count++;
}

// Sums by exponent. Neighbours mostly have the same exponents, and an addition to what was just stored waits for it: four
// elements in a row go to sums of their own.
enum { lanes = 4, exponents = 512 };
struct bins {
  int64_t sums[lanes][exponents];
};
// With this many products of 48 bits in all, no sum leaves 63 bits.
enum { bin_capacity = 1 << 14 };

static void empty_bins(struct bins *bins, struct graft_sum *sum) {
  for (unsigned exponent = 0; exponent < exponents; exponent++) {
    int64_t total = 0;
    for (unsigned lane = 0; lane < lanes; lane++) {
      total += bins->sums[lane][exponent];
      bins->sums[lane][exponent] = 0;
    }
    if (total == 0) continue;
    // An exponent here is the sum of two biased ones, for significands that are integers: 2 × (127 + 23).
    const uint64_t magnitude = total < 0 ? 0 - (uint64_t)total : (uint64_t)total;
    add_shifted(sum, exponent + unit - 300, magnitude, total < 0);
  }
}

typedef bool multiply_loop(int64_t *products, uint32_t *places, const any_u32 *a, const any_u32 *b, size_t count);

#define VARIANT_LOOPS "sum_loops.h"
#include "for_each_variant.h"

static void add_f32(multiply_loop *multiply, struct bins *bins, struct graft_sum *sum, const void *a, const void *b,
                    size_t count) {
  int64_t products[block_count];
  uint32_t places[block_count];
  const bool all_finite = multiply(products, places, a, b, count);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    _Pragma("unroll") for (unsigned lane = 0; lane < lanes; lane++)
      bins->sums[lane][places[i + lane]] += products[i + lane];
  }
  for (; i < count; i++) bins->sums[0][places[i]] += products[i];
  if (all_finite) return;
  const any_f32 *x = a, *y = b;
  for (i = 0; i < count; i++) {
    const bool is_finite = __builtin_isfinite(x[i]) && __builtin_isfinite(y[i]);
    if (!is_finite) add_special(sum, (double)x[i] * (double)y[i]);
  }
}

static void add_f64(struct graft_sum *sum, const any_f64 *a, const any_f64 *b, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const uint64_t x = bits_of_f64(a[i]), y = bits_of_f64(b[i]);
    const uint64_t fraction = ((uint64_t)1 << 52) - 1;
    const unsigned x_exponent = x >> 52 & 0x7FF, y_exponent = y >> 52 & 0x7FF;
    if (x_exponent == 0x7FF || y_exponent == 0x7FF) {
      add_special(sum, a[i] * b[i]);
      continue;
    }
    const uint64_t x_significand = (x & fraction) | (uint64_t)(x_exponent != 0) << 52;
    const uint64_t y_significand = (y & fraction) | (uint64_t)(y_exponent != 0) << 52;
    const unsigned place = (x_exponent != 0 ? x_exponent : 1) + (y_exponent != 0 ? y_exponent : 1);
    add_shifted(sum, place - 2, (unsigned __int128)x_significand * y_significand, (x ^ y) >> 63);
  }
}

// Whether every element of a dtype is a float32.
static bool is_f32(unsigned dtype) {
  switch ((enum graft_dtype)dtype) {
    case GRAFT_INT32:
    case GRAFT_UINT32:
    case GRAFT_INT64:
    case GRAFT_UINT64:
    case GRAFT_FLOAT64: return false;
    default: return true;
  }
}

int graft_sum_products(enum graft_variant variant, struct graft_sum *sum, struct graft_operand a,
                       struct graft_operand b, size_t count) {
  if (sum == NULL || !format_is_known(a.format) || !format_is_known(b.format)) return -EINVAL;
  if (a.format.dtype >= GRAFT_COMPLEX64 || b.format.dtype >= GRAFT_COMPLEX64) return -ENOTSUP;
  if (!graft_variant_is_supported(variant)) return -ENOTSUP;
  if (count == 0) return 0;
  if (a.elements == NULL || b.elements == NULL) return -EINVAL;
  const bool is_narrow = is_f32(a.format.dtype) && is_f32(b.format.dtype);
  const struct graft_format computed = {.dtype = is_narrow ? GRAFT_FLOAT32 : GRAFT_FLOAT64};
  const struct cast_route from_a = cast_route_between(variant, a.format, computed);
  const struct cast_route from_b = cast_route_between(variant, b.format, computed);
  const bool is_one_operand =
      a.elements == b.elements && a.format.dtype == b.format.dtype && stored_bit_width(a.format) == stored_bit_width(b.format);
  multiply_loop *const multiply = GRAFT_OF_VARIANT(variant, multiply_f32);
  struct bins bins = {0};
  _Alignas(64) uint8_t left[block_count * sizeof(double)], right[block_count * sizeof(double)];
  for (size_t done = 0; done < count; done += block_count) {
    const size_t some = count - done < block_count ? count - done : block_count;
    cast_along(&from_a, left, (const uint8_t *)a.elements + stored_byte_count(a.format, done), some);
    if (!is_one_operand) cast_along(&from_b, right, (const uint8_t *)b.elements + stored_byte_count(b.format, done), some);
    const void *const other = is_one_operand ? left : right;
    if (is_narrow) {
      add_f32(multiply, &bins, sum, left, other, some);
      if ((done + block_count) % bin_capacity == 0) empty_bins(&bins, sum);
    } else {
      add_f64(sum, (const any_f64 *)(const void *)left, other, some);
    }
  }
  if (is_narrow) empty_bins(&bins, sum);
  return 0;
}
