// Random numbers by counter: an element's value is a function of its index, so that a tensor has the same values in whatever
// tiles, order or shards it is filled.
//
//   Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
//   AS 241: Wichura, "The percentage points of the normal distribution", Applied Statistics 37 (1988) 477-484.
//   The logarithm is that of FreeBSD's msun (e_log.c), by Sun Microsystems: its series and its constants.
//
// Besides the basic operations, which every processor rounds alike, nothing but the square root is used, which IEEE 754
// defines to the last bit too: so all machines agree.

#include "cast.h"

#include <errno.h>

// ---- Philox ---------------------------------------------------------------------------------------------------------

struct philox_block {
  uint32_t words[4];
};

GRAFT_INLINE struct philox_block philox(uint64_t counter_low, uint64_t counter_high, uint64_t key) {
  uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
  uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  _Pragma("unroll") for (int round = 0; round < 10; round++) {
    const uint64_t product0 = (uint64_t)0xD2511F53 * c0, product1 = (uint64_t)0xCD9E8D57 * c2;
    c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)product1;
    c3 = (uint32_t)product0;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return (struct philox_block){{c0, c1, c2, c3}};
}

void graft_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
  const struct philox_block block = philox(counter[0] | (uint64_t)counter[1] << 32, counter[2] | (uint64_t)counter[3] << 32,
                                           key[0] | (uint64_t)key[1] << 32);
  memcpy(words, block.words, sizeof block.words);
}

// ---- The normal distribution ----------------------------------------------------------------------------------------

// The natural logarithm of a normal, positive number.
GRAFT_INLINE double logarithm(double x) {
  // x = m × 2^k with m between the square roots of 1/2 and 2.
  const uint64_t one = 0x3FF0000000000000, root = 0x3FE6A09E00000000;
  const uint64_t moved = bits_of_f64(x) + (one - root);
  const double k = (double)((int32_t)(moved >> 52) - 1023);
  const double f = f64_of_bits((moved & 0x000FFFFFFFFFFFFF) + root) - 1;
  const double s = f / (2 + f);
  const double z = s * s;
  const double w = z * z;
  const double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
  const double odd = z * (6.666666666666735130e-01 +
                          w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
  const double half_square = 0.5 * f * f;
  const double correction = s * (half_square + (odd + even)) + k * 1.90821492927058770002e-10;
  return k * 6.93147180369123816490e-01 - ((half_square - correction) - f);
}

// The central branch of AS 241 serves probabilities so far from 1/2.
static const double central_half_width = 0.425;

#define POLYNOMIAL(X, C0, C1, C2, C3, C4, C5, C6, C7) \
  (((((((C7 * X + C6) * X + C5) * X + C4) * X + C3) * X + C2) * X + C1) * X + C0)

GRAFT_INLINE double central_quantile(double p) {
  const double q = p - 0.5;
  const double r = 0.180625 - q * q;
  const double numerator =
      POLYNOMIAL(r, 3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
                 4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3);
  const double denominator =
      POLYNOMIAL(r, 1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
                 2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3);
  return q * numerator / denominator;
}

GRAFT_INLINE double tail_quantile(double p) {
  const double q = p - 0.5;
  const double r = __builtin_elementwise_sqrt(-logarithm(q < 0 ? p : 1 - p));
  const double near = r - 1.6;
  const double near_numerator =
      POLYNOMIAL(near, 1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
                 3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
                 2.27238449892691845833e-2, 7.74545014278341407640e-4);
  const double near_denominator =
      POLYNOMIAL(near, 1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
                 1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                 1.05075007164441684324e-9);
  const double far = r - 5;
  const double far_numerator =
      POLYNOMIAL(far, 6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
                 2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                 2.71155556874348757815e-5, 2.01033439929228813265e-7);
  const double far_denominator =
      POLYNOMIAL(far, 1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
                 7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
                 2.04426310338993978564e-15);
  const bool is_near = r <= 5;
  const double z = (is_near ? near_numerator : far_numerator) / (is_near ? near_denominator : far_denominator);
  return q < 0 ? -z : z;
}

struct random_loops {
  void (*philox_blocks)(uint32_t *words, uint64_t first, uint64_t stream, uint64_t seed, size_t count);
  void (*fractions_of_32_bits)(double *fractions, const uint32_t *words, double half, size_t count);
  void (*fractions_of_64_bits)(double *fractions, const uint32_t *words, double half, size_t count);
  void (*affine)(double *values, double offset, double factor, double low, double high, size_t count);
  void (*normal_quantiles)(double *values, size_t count);
};

#define VARIANT_LOOPS "random_loops.h"
#include "for_each_variant.h"

// ---- Bounds ---------------------------------------------------------------------------------------------------------

// The largest number of the dtype that is at most `bound`, or below it; -infinity where there is none.
static double number_below(double bound, struct graft_format format, bool is_strict) {
  const struct graft_format f64 = {.dtype = GRAFT_FLOAT64};
  const struct cast_route there = cast_route_between(GRAFT_PORTABLE, f64, format);
  const struct cast_route back = cast_route_between(GRAFT_PORTABLE, format, f64);
  const unsigned width = stored_bit_width(format);
  uint64_t code = 0;
  double number;
  // The nearest number, or the one before it.
  for (int step = 0; step < 2; step++) {
    if (step == 0) {
      cast_along(&there, &code, &bound, 1);
    } else {
      // Codes count upwards from zero on either side of it.
      const uint64_t sign = (uint64_t)1 << (width - 1);
      code = code == 0 || code == sign ? sign + 1 : (code & sign) != 0 ? code + 1 : code - 1;
    }
    cast_along(&back, &number, &code, 1);
    if (is_strict ? number < bound : number <= bound) return number;
  }
  return number;
}

// ---- Elements -------------------------------------------------------------------------------------------------------

int graft_random(enum graft_variant variant, enum graft_distribution distribution, double a, double b, uint64_t seed,
                 uint64_t stream, uint64_t first, void *destination, enum graft_dtype dtype, size_t count) {
  if ((unsigned)distribution >= GRAFT_DISTRIBUTION_COUNT || (unsigned)dtype >= GRAFT_DTYPE_COUNT) return -EINVAL;
  if (!__builtin_isfinite(a) || !__builtin_isfinite(b)) return -EINVAL;
  if (distribution == GRAFT_UNIFORM ? !(b > a) || !__builtin_isfinite(b - a) : b < 0) return -EINVAL;
  if (dtype != GRAFT_FLOAT64 && dtype != GRAFT_FLOAT32 && dtype != GRAFT_FLOAT16 && dtype != GRAFT_BFLOAT16)
    return -ENOTSUP;
  if (!graft_variant_is_supported(variant)) return -ENOTSUP;
  if (count == 0) return 0;
  if (destination == NULL || first > UINT64_MAX - count) return -EINVAL;

  const struct random_loops *loops = GRAFT_OF_VARIANT(variant, random_loops);
  const struct graft_format f64 = {.dtype = GRAFT_FLOAT64}, format = {.dtype = (uint8_t)dtype};
  const struct cast_route route = cast_route_between(variant, f64, format);
  const bool is_wide = dtype == GRAFT_FLOAT64;
  const unsigned elements_per_block = is_wide ? 2 : 4;

  double low = -__builtin_inf(), high = __builtin_inf();
  if (distribution == GRAFT_UNIFORM) {
    low = -number_below(-a, format, false);
    high = number_below(b, format, true);
  } else if (distribution == GRAFT_TRUNCATED_NORMAL) {
    low = -number_below(-(a - 2 * b), format, false);
    high = number_below(a + 2 * b, format, false);
  }
  if (!(low <= high)) low = -__builtin_inf(), high = __builtin_inf();
  // Φ(-2), and Φ(2) - Φ(-2).
  const double least = 0.022750131948179207, covered = 0.954499736103641586;

  // Blocks are whole even where the first element is within one.
  _Alignas(64) uint32_t words[2 * block_count];
  _Alignas(64) double values[block_count];
  uint64_t next = first - first % elements_per_block;
  size_t skipped = (size_t)(first % elements_per_block);
  uint8_t *to = destination;
  for (size_t done = 0; done < count;) {
    const size_t wanted = count - done + skipped;
    const size_t some = wanted < block_count ? wanted : block_count;
    const size_t blocks = (some + elements_per_block - 1) / elements_per_block;
    loops->philox_blocks(words, next / elements_per_block, stream, seed, blocks);
    const double half = distribution == GRAFT_UNIFORM ? 0 : 0.5;
    if (is_wide)
      loops->fractions_of_64_bits(values, words, half, some);
    else
      loops->fractions_of_32_bits(values, words, half, some);
    switch (distribution) {
      case GRAFT_UNIFORM: loops->affine(values, a, b - a, low, high, some); break;
      case GRAFT_TRUNCATED_NORMAL: loops->affine(values, least, covered, 0, 1, some); __attribute__((fallthrough));
      default:
        loops->normal_quantiles(values, some);
        loops->affine(values, a, b, low, high, some);
    }
    const size_t kept = some - skipped;
    cast_along(&route, to, values + skipped, kept);
    to += stored_byte_count(format, kept);
    done += kept;
    next += some;
    skipped = 0;
  }
  return 0;
}
