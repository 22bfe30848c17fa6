// The loop of the exact sums, for one variant: see variants.h. Included by sum.c alone, once for each.

// Writes the products of up to block_count pairs as integers, with the sum of both exponents; a product of which a factor
// is not finite is 0. Returns whether all are finite.
static bool VARIANT(multiply_f32)(int64_t *products, uint32_t *places, const any_u32 *a, const any_u32 *b,
                                  size_t count) {
  uint32_t largest = 0;  // exponent
  GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) {
    const uint32_t x = a[i], y = b[i];
    const uint32_t x_exponent = x >> 23 & 0xFF, y_exponent = y >> 23 & 0xFF;
    // A subnormal number has the exponent of the smallest normal one, and no leading bit.
    const uint32_t x_normal = x_exponent != 0, y_normal = y_exponent != 0;
    const uint32_t x_finite = x_exponent != 0xFF, y_finite = y_exponent != 0xFF;
    const uint32_t x_significand = (x & 0x7FFFFF) | x_normal << 23;
    const uint32_t y_significand = (y & 0x7FFFFF) | y_normal << 23;
    const uint32_t mask = 0 - (x_finite & y_finite);
    const uint64_t product = (uint64_t)(x_significand & mask) * y_significand;
    const uint64_t sign = (uint64_t)((int64_t)(int32_t)(x ^ y) >> 63);
    products[i] = (int64_t)((product ^ sign) - sign);
    places[i] = x_exponent + y_exponent + 2 - x_normal - y_normal;
    const uint32_t larger = x_exponent > y_exponent ? x_exponent : y_exponent;
    largest = largest > larger ? largest : larger;
  }
  return largest != 0xFF;
}
