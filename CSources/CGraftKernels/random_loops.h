// The loops of the random numbers, for one variant: see variants.h. Included by random.c alone, once for each.

// Writes `count` Philox blocks, from number `first` on, one after the other.
static void VARIANT(philox_blocks)(uint32_t *words, uint64_t first, uint64_t stream, uint64_t seed, size_t count) {
  GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) {
    const struct philox_block block = philox(first + i, stream, seed);
    words[4 * i] = block.words[0];
    words[4 * i + 1] = block.words[1];
    words[4 * i + 2] = block.words[2];
    words[4 * i + 3] = block.words[3];
  }
}

// Words to numbers between 0 and 1: see graft_random. `half` is 1/2 or 0.
static void VARIANT(fractions_of_32_bits)(double *fractions, const uint32_t *words, double half, size_t count) {
  GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) fractions[i] = ((double)words[i] + half) * 0x1p-32;
}

static void VARIANT(fractions_of_64_bits)(double *fractions, const uint32_t *words, double half, size_t count) {
  GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) {
    const uint64_t bits = words[2 * i] | (uint64_t)words[2 * i + 1] << 32;
    // The 52 bits become the significand of a number from 1 to 2, which is exact, as is what follows.
    const double number = f64_of_bits((uint64_t)0x3FF << 52 | bits >> 12) - 1;
    fractions[i] = number + half * 0x1p-52;
  }
}

static void VARIANT(affine)(double *values, double offset, double factor, double low, double high, size_t count) {
  GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) {
    const double product = factor * values[i];
    const double value = offset + product;
    const double above = value < low ? low : value;
    values[i] = above > high ? high : above;
  }
}

// Replaces probabilities, none of them 0 or 1, by the normal distribution's quantiles; at most block_count.
static void VARIANT(normal_quantiles)(double *values, size_t count) {
  double tail[block_count], quantile[block_count];
  uint16_t places[block_count];
  // Which are in a tail: without a branch, as nothing could foresee it.
  size_t tail_count = 0;
  for (size_t i = 0; i < count; i++) {
    places[tail_count] = (uint16_t)i;
    const double distance = values[i] - 0.5;
    tail_count += distance > central_half_width || distance < -central_half_width;
  }
  for (size_t i = 0; i < tail_count; i++) tail[i] = values[places[i]];
  GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) values[i] = central_quantile(values[i]);
  GRAFT_INDEPENDENT for (size_t i = 0; i < tail_count; i++) quantile[i] = tail_quantile(tail[i]);
  for (size_t i = 0; i < tail_count; i++) values[places[i]] = quantile[i];
}

static const struct random_loops VARIANT(random_loops) = {
  .philox_blocks = VARIANT(philox_blocks),
  .fractions_of_32_bits = VARIANT(fractions_of_32_bits),
  .fractions_of_64_bits = VARIANT(fractions_of_64_bits),
  .affine = VARIANT(affine),
  .normal_quantiles = VARIANT(normal_quantiles),
};
