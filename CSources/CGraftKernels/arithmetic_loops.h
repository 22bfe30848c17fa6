// The loops of the arithmetic, for one variant: see variants.h. Included by arithmetic.c alone, once for each.

// What becomes of each element; `x` and `y` are the operands', `s` and `t` the scalars. The destination may be an operand.
#define LOOP(NAME, TYPE, NUMBER, S, T, EXPRESSION)                                                             \
  static void VARIANT(NAME)(void *destination, const void *a, const void *b, const struct scalars *scalars,    \
                            size_t count) {                                                                    \
    TYPE *to = destination;                                                                                    \
    const TYPE *left = a, *right = b;                                                                          \
    const NUMBER s = (NUMBER)scalars->S, t = (NUMBER)scalars->T;                                               \
    (void)s, (void)t;                                                                                          \
    GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) {                                                     \
      const NUMBER x = left[i], y = right[i];                                                                  \
      (void)y;                                                                                                 \
      to[i] = (NUMBER)(EXPRESSION);                                                                            \
    }                                                                                                          \
  }

#define LOOPS(NAME, TYPE, NUMBER, S, T, DIVIDE)                 \
  LOOP(add_##NAME, TYPE, NUMBER, S, T, x + y)                   \
  LOOP(subtract_##NAME, TYPE, NUMBER, S, T, x - y)              \
  LOOP(multiply_##NAME, TYPE, NUMBER, S, T, x * y)              \
  LOOP(divide_##NAME, TYPE, NUMBER, S, T, DIVIDE(x, y))         \
  LOOP(accumulate_##NAME, TYPE, NUMBER, S, T, x + s * y)        \
  LOOP(combine_##NAME, TYPE, NUMBER, S, T, s * x + t * y)       \
  LOOP(scale_##NAME, TYPE, NUMBER, S, T, s * x)                 \
  LOOP(unscale_##NAME, TYPE, NUMBER, S, T, DIVIDE(x, s))

// Signed integers wrap around as unsigned ones.
LOOPS(f32, any_f32, float, real_s, real_t, DIVIDED)
LOOPS(f64, any_f64, double, real_s, real_t, DIVIDED)
LOOPS(i32, any_u32, uint32_t, whole_s, whole_t, divided_i32)
LOOPS(u32, any_u32, uint32_t, whole_s, whole_t, divided_u32)
LOOPS(i64, any_u64, uint64_t, whole_s, whole_t, divided_i64)
LOOPS(u64, any_u64, uint64_t, whole_s, whole_t, divided_u64)

#define COMPLEX_LOOP(NAME, TYPE, NUMBER, FUNCTION)                                                             \
  static void VARIANT(NAME)(void *destination, const void *a, const void *b, const struct scalars *scalars,    \
                            size_t count) {                                                                    \
    TYPE *to = destination;                                                                                    \
    const TYPE *left = a, *right = b;                                                                          \
    (void)scalars;                                                                                             \
    for (size_t i = 0; i < 2 * count; i += 2) {                                                                \
      const NUMBER x[2] = {left[i], left[i + 1]}, y[2] = {right[i], right[i + 1]};                             \
      NUMBER z[2];                                                                                             \
      FUNCTION(z, x, y);                                                                                       \
      to[i] = z[0], to[i + 1] = z[1];                                                                          \
    }                                                                                                          \
  }
COMPLEX_LOOP(multiply_c64, any_f32, float, multiplied_c64)
COMPLEX_LOOP(divide_c64, any_f32, float, divided_c64)
COMPLEX_LOOP(multiply_c128, any_f64, double, multiplied_c128)
COMPLEX_LOOP(divide_c128, any_f64, double, divided_c128)

#define ROW(NAME)                                                                                             \
  {                                                                                                            \
    [GRAFT_ADD] = VARIANT(add_##NAME), [GRAFT_SUBTRACT] = VARIANT(subtract_##NAME),                            \
    [GRAFT_MULTIPLY] = VARIANT(multiply_##NAME), [GRAFT_DIVIDE] = VARIANT(divide_##NAME),                      \
    [GRAFT_ACCUMULATE] = VARIANT(accumulate_##NAME), [GRAFT_COMBINE] = VARIANT(combine_##NAME),                \
    [GRAFT_SCALE] = VARIANT(scale_##NAME), [GRAFT_UNSCALE] = VARIANT(unscale_##NAME)                           \
  }
static compute_loop *const VARIANT(compute_loops)[GRAFT_DTYPE_COUNT][GRAFT_OPERATION_COUNT] = {
  [GRAFT_FLOAT32] = ROW(f32),
  [GRAFT_FLOAT64] = ROW(f64),
  [GRAFT_INT32] = ROW(i32),
  [GRAFT_UINT32] = ROW(u32),
  [GRAFT_INT64] = ROW(i64),
  [GRAFT_UINT64] = ROW(u64),
  // Where the parts do not meet, a complex number is two real ones: see loop_for.
  [GRAFT_COMPLEX64] = {[GRAFT_MULTIPLY] = VARIANT(multiply_c64), [GRAFT_DIVIDE] = VARIANT(divide_c64)},
  [GRAFT_COMPLEX128] = {[GRAFT_MULTIPLY] = VARIANT(multiply_c128), [GRAFT_DIVIDE] = VARIANT(divide_c128)},
};

#undef ROW
#undef COMPLEX_LOOP
#undef LOOPS
#undef LOOP
