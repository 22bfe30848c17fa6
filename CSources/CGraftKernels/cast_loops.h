// The loops of the casts, for one variant: see variants.h. Included by cast.c alone, once for each.

// Converts `count` elements of one type to another.
#define LOOP(NAME, FROM, TO, EXPRESSION)                                                              \
  static void VARIANT(NAME)(void *restrict destination, const void *restrict source, size_t count) {  \
    TO *to = destination;                                                                             \
    const FROM *from = source;                                                                        \
    GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) {                                            \
      const __typeof__(*from) x = from[i];                                                            \
      to[i] = (__typeof__(*to))(EXPRESSION);                                                          \
    }                                                                                                 \
  }

// ---- To the types in between ----------------------------------------------------------------------------------------

LOOP(f32_of_bool, any_u8, any_f32, x != 0 ? 1.0f : 0.0f)
LOOP(f32_of_i4, any_u8, any_f32, i32_of_i4(x))
LOOP(f32_of_u4, any_u8, any_f32, (int32_t)(x & 15))
LOOP(f32_of_i8, any_i8, any_f32, x)
LOOP(f32_of_u8, any_u8, any_f32, x)
LOOP(f32_of_i16, any_i16, any_f32, x)
LOOP(f32_of_u16, any_u16, any_f32, x)
LOOP(f32_of_bf16, any_u16, any_u32, (uint32_t)x << 16)
LOOP(f32_of_e8m0, any_u8, any_f32, decode_e8m0(x))
#define DECODE(NAME, E, M, BIAS, SPECIALS) LOOP(f32_of_##NAME, any_u8, any_f32, decode_small(x, E, M, BIAS, SPECIALS))
FOR_EACH_SMALL_FLOAT(DECODE)
#undef DECODE
LOOP(f32_of_f16_plain, any_u16, any_f32, decode_small(x, 5, 10, 15, IEEE))

LOOP(f64_of_i32, any_i32, any_f64, x)
LOOP(f64_of_u32, any_u32, any_f64, x)

LOOP(i32_of_bool, any_u8, any_i32, x != 0)
LOOP(i32_of_i4, any_u8, any_i32, i32_of_i4(x))
LOOP(i32_of_u4, any_u8, any_i32, x & 15)
LOOP(i32_of_i8, any_i8, any_i32, x)
LOOP(i32_of_u8, any_u8, any_i32, x)
LOOP(i32_of_i16, any_i16, any_i32, x)
LOOP(i32_of_u16, any_u16, any_i32, x)

LOOP(i64_of_bool, any_u8, any_i64, x != 0)
LOOP(i64_of_i4, any_u8, any_i64, i32_of_i4(x))
LOOP(i64_of_u4, any_u8, any_i64, x & 15)
LOOP(i64_of_i8, any_i8, any_i64, x)
LOOP(i64_of_u8, any_u8, any_i64, x)
LOOP(i64_of_i16, any_i16, any_i64, x)
LOOP(i64_of_u16, any_u16, any_i64, x)
LOOP(i64_of_i32, any_i32, any_i64, x)
LOOP(i64_of_u32, any_u32, any_i64, x)

// ---- From the types in between --------------------------------------------------------------------------------------

LOOP(bool_of_f32, any_f32, any_u8, x != 0)
LOOP(i4_of_f32, any_f32, any_u8, (int32_t)CLAMPED(float, -8, 7, x) & 15)
LOOP(u4_of_f32, any_f32, any_u8, (int32_t)CLAMPED(float, 0, 15, x))
LOOP(i8_of_f32, any_f32, any_i8, (int32_t)CLAMPED(float, -128, 127, x))
LOOP(u8_of_f32, any_f32, any_u8, (int32_t)CLAMPED(float, 0, 255, x))
LOOP(i16_of_f32, any_f32, any_i16, (int32_t)CLAMPED(float, -32768, 32767, x))
LOOP(u16_of_f32, any_f32, any_u16, (int32_t)CLAMPED(float, 0, 65535, x))
LOOP(i32_of_f32, any_f32, any_i32, CLAMPED(double, -0x1p31, 0x1p31 - 1, (double)x))
LOOP(u32_of_f32, any_f32, any_u32, (int64_t)CLAMPED(double, 0, 0x1p32 - 1, (double)x))
LOOP(i64_of_f32, any_f32, any_i64, i64_of_f64((double)x))
LOOP(u64_of_f32, any_f32, any_u64, u64_of_f64((double)x))
LOOP(bf16_of_f32, any_f32, any_u16, encode_bf16(x))
LOOP(e8m0_of_f32, any_f32, any_u8, encode_e8m0(x))
#define ENCODE(NAME, E, M, BIAS, SPECIALS) LOOP(NAME##_of_f32, any_f32, any_u8, encode_small(x, E, M, BIAS, SPECIALS))
FOR_EACH_SMALL_FLOAT(ENCODE)
#undef ENCODE
LOOP(f16_of_f32_plain, any_f32, any_u16, encode_small(x, 5, 10, 15, IEEE))
LOOP(f64_of_f32, any_f32, any_f64, x)

LOOP(bool_of_f64, any_f64, any_u8, x != 0)
LOOP(i4_of_f64, any_f64, any_u8, (int32_t)CLAMPED(double, -8, 7, x) & 15)
LOOP(u4_of_f64, any_f64, any_u8, (int32_t)CLAMPED(double, 0, 15, x))
LOOP(i8_of_f64, any_f64, any_i8, (int32_t)CLAMPED(double, -128, 127, x))
LOOP(u8_of_f64, any_f64, any_u8, (int32_t)CLAMPED(double, 0, 255, x))
LOOP(i16_of_f64, any_f64, any_i16, (int32_t)CLAMPED(double, -32768, 32767, x))
LOOP(u16_of_f64, any_f64, any_u16, (int32_t)CLAMPED(double, 0, 65535, x))
LOOP(i32_of_f64, any_f64, any_i32, CLAMPED(double, -0x1p31, 0x1p31 - 1, x))
LOOP(u32_of_f64, any_f64, any_u32, (int64_t)CLAMPED(double, 0, 0x1p32 - 1, x))
LOOP(i64_of_f64, any_f64, any_i64, i64_of_f64(x))
LOOP(u64_of_f64, any_f64, any_u64, u64_of_f64(x))
LOOP(bf16_of_f64, any_f64, any_u16, encode_bf16(odd_f32_of_f64(x)))
LOOP(e8m0_of_f64, any_f64, any_u8, encode_e8m0(odd_f32_of_f64(x)))
#define ENCODE(NAME, E, M, BIAS, SPECIALS) \
  LOOP(NAME##_of_f64, any_f64, any_u8, encode_small(odd_f32_of_f64(x), E, M, BIAS, SPECIALS))
FOR_EACH_SMALL_FLOAT(ENCODE)
#undef ENCODE
LOOP(f16_of_f64, any_f64, any_u16, encode_small(odd_f32_of_f64(x), 5, 10, 15, IEEE))
LOOP(f32_of_f64, any_f64, any_f32, x)

LOOP(bool_of_i32, any_i32, any_u8, x != 0)
LOOP(i4_of_i32, any_i32, any_u8, x & 15)
LOOP(i8_of_i32, any_i32, any_u8, (uint32_t)x)
LOOP(i16_of_i32, any_i32, any_u16, (uint32_t)x)

LOOP(bool_of_i64, any_i64, any_u8, x != 0)
LOOP(i4_of_i64, any_i64, any_u8, x & 15)
LOOP(i8_of_i64, any_i64, any_u8, (uint64_t)x)
LOOP(i16_of_i64, any_i64, any_u16, (uint64_t)x)
LOOP(i32_of_i64, any_i64, any_u32, (uint64_t)x)

LOOP(f32_of_i64, any_i64, any_f32, x)
LOOP(f64_of_i64, any_i64, any_f64, x)
LOOP(bf16_of_i64, any_i64, any_u16, encode_bf16(odd_f32_of_i64(x)))
LOOP(e8m0_of_i64, any_i64, any_u8, encode_e8m0(odd_f32_of_i64(x)))
LOOP(f32_of_u64, any_u64, any_f32, x)
LOOP(f64_of_u64, any_u64, any_f64, x)
LOOP(bf16_of_u64, any_u64, any_u16, encode_bf16(odd_f32_of_u64(x)))
LOOP(e8m0_of_u64, any_u64, any_u8, encode_e8m0(odd_f32_of_u64(x)))
#define ENCODE(NAME, E, M, BIAS, SPECIALS)                                                        \
  LOOP(NAME##_of_i64, any_i64, any_u8, encode_small(odd_f32_of_i64(x), E, M, BIAS, SPECIALS))     \
  LOOP(NAME##_of_u64, any_u64, any_u8, encode_small(odd_f32_of_u64(x), E, M, BIAS, SPECIALS))
FOR_EACH_SMALL_FLOAT(ENCODE)
#undef ENCODE
LOOP(f16_of_i64, any_i64, any_u16, encode_small(odd_f32_of_i64(x), 5, 10, 15, IEEE))
LOOP(f16_of_u64, any_u64, any_u16, encode_small(odd_f32_of_u64(x), 5, 10, 15, IEEE))

// ---- float16, for which processors have instructions ----------------------------------------------------------------

#if VARIANT_BYTES > 16
static void VARIANT(f32_of_f16)(void *restrict destination, const void *restrict source, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)((const any_u16 *)source + i));
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)((const any_u16 *)source + i + 8));
    _mm256_storeu_ps((void *)((any_f32 *)destination + i), _mm256_cvtph_ps(low));
    _mm256_storeu_ps((void *)((any_f32 *)destination + i + 8), _mm256_cvtph_ps(high));
  }
  VARIANT(f32_of_f16_plain)((any_f32 *)destination + i, (const any_u16 *)source + i, count - i);
}

static void VARIANT(f16_of_f32)(void *restrict destination, const void *restrict source, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256 low = _mm256_loadu_ps((const void *)((const any_f32 *)source + i));
    const __m256 high = _mm256_loadu_ps((const void *)((const any_f32 *)source + i + 8));
    _mm_storeu_si128((__m128i *)(void *)((any_u16 *)destination + i), _mm256_cvtps_ph(low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(void *)((any_u16 *)destination + i + 8),
                     _mm256_cvtps_ph(high, _MM_FROUND_TO_NEAREST_INT));
  }
  VARIANT(f16_of_f32_plain)((any_u16 *)destination + i, (const any_f32 *)source + i, count - i);
}
#define FAST_F32_OF_F16 VARIANT(f32_of_f16)
#define FAST_F16_OF_F32 VARIANT(f16_of_f32)
#else
#define FAST_F32_OF_F16 VARIANT(f32_of_f16_plain)
#define FAST_F16_OF_F32 VARIANT(f16_of_f32_plain)
#endif

// ---- Complex numbers ------------------------------------------------------------------------------------------------

#define COMPLEX_LOOP(NAME, FROM, TO, EXPRESSION)                                                      \
  static void VARIANT(NAME)(void *restrict destination, const void *restrict source, size_t count) {  \
    TO *to = destination;                                                                             \
    const FROM *from = source;                                                                        \
    GRAFT_INDEPENDENT for (size_t i = 0; i < count; i++) { EXPRESSION; }                              \
  }
COMPLEX_LOOP(f32_of_c64, any_f32, any_f32, to[i] = from[2 * i])
COMPLEX_LOOP(f64_of_c128, any_f64, any_f64, to[i] = from[2 * i])
COMPLEX_LOOP(bool_of_c64, any_f32, any_u8, to[i] = (uint8_t)((from[2 * i] != 0) | (from[2 * i + 1] != 0)))
COMPLEX_LOOP(bool_of_c128, any_f64, any_u8, to[i] = (uint8_t)((from[2 * i] != 0) | (from[2 * i + 1] != 0)))
COMPLEX_LOOP(c64_of_f32, any_f32, any_f32, to[2 * i] = from[i]; to[2 * i + 1] = 0)
COMPLEX_LOOP(c64_of_f64, any_f64, any_f32, to[2 * i] = (float)from[i]; to[2 * i + 1] = 0)
COMPLEX_LOOP(c64_of_i64, any_i64, any_f32, to[2 * i] = (float)from[i]; to[2 * i + 1] = 0)
COMPLEX_LOOP(c64_of_u64, any_u64, any_f32, to[2 * i] = (float)from[i]; to[2 * i + 1] = 0)
COMPLEX_LOOP(c128_of_f32, any_f32, any_f64, to[2 * i] = (double)from[i]; to[2 * i + 1] = 0)
COMPLEX_LOOP(c128_of_f64, any_f64, any_f64, to[2 * i] = from[i]; to[2 * i + 1] = 0)
COMPLEX_LOOP(c128_of_i64, any_i64, any_f64, to[2 * i] = (double)from[i]; to[2 * i + 1] = 0)
COMPLEX_LOOP(c128_of_u64, any_u64, any_f64, to[2 * i] = (double)from[i]; to[2 * i + 1] = 0)
#undef COMPLEX_LOOP

// ---- Packed elements ------------------------------------------------------------------------------------------------

// Whole groups of eight elements; the caller sees to the rest.
LOOP(unpack_4_pairs, any_u8, any_u16, (x & 15) | (x >> 4) << 8)
LOOP(pack_4_pairs, any_u16, any_u8, (x & 15) | (x >> 4 & 0xF0))

// ---- The table ------------------------------------------------------------------------------------------------------

#define SMALL_FLOATS(OF)                                                                             \
  [GRAFT_FLOAT4_E2M1FN] = OF(f4_e2m1fn), [GRAFT_FLOAT6_E2M3FN] = OF(f6_e2m3fn),                      \
  [GRAFT_FLOAT6_E3M2FN] = OF(f6_e3m2fn), [GRAFT_FLOAT8_E3M4] = OF(f8_e3m4),                          \
  [GRAFT_FLOAT8_E4M3] = OF(f8_e4m3), [GRAFT_FLOAT8_E4M3B11FNUZ] = OF(f8_e4m3b11fnuz),                \
  [GRAFT_FLOAT8_E4M3FN] = OF(f8_e4m3fn), [GRAFT_FLOAT8_E4M3FNUZ] = OF(f8_e4m3fnuz),                  \
  [GRAFT_FLOAT8_E5M2] = OF(f8_e5m2), [GRAFT_FLOAT8_E5M2FNUZ] = OF(f8_e5m2fnuz),                      \
  [GRAFT_FLOAT8_E8M0FNU] = OF(e8m0), [GRAFT_BFLOAT16] = OF(bf16)

static const struct cast_loops VARIANT(cast_loops) = {
#define OF(NAME) VARIANT(f32_of_##NAME)
  .to_f32 = {SMALL_FLOATS(OF), [GRAFT_BOOL] = OF(bool), [GRAFT_INT4] = OF(i4), [GRAFT_UINT4] = OF(u4),
             [GRAFT_INT8] = OF(i8), [GRAFT_UINT8] = OF(u8), [GRAFT_INT16] = OF(i16), [GRAFT_UINT16] = OF(u16),
             [GRAFT_FLOAT16] = FAST_F32_OF_F16, [GRAFT_COMPLEX64] = OF(c64)},
#undef OF
  .to_f64 = {[GRAFT_INT32] = VARIANT(f64_of_i32), [GRAFT_UINT32] = VARIANT(f64_of_u32),
             [GRAFT_COMPLEX128] = VARIANT(f64_of_c128)},
#define OF(NAME) VARIANT(i32_of_##NAME)
  .to_i32 = {[GRAFT_BOOL] = OF(bool), [GRAFT_INT4] = OF(i4), [GRAFT_UINT4] = OF(u4), [GRAFT_INT8] = OF(i8),
             [GRAFT_UINT8] = OF(u8), [GRAFT_INT16] = OF(i16), [GRAFT_UINT16] = OF(u16)},
#undef OF
#define OF(NAME) VARIANT(i64_of_##NAME)
  .to_i64 = {[GRAFT_BOOL] = OF(bool), [GRAFT_INT4] = OF(i4), [GRAFT_UINT4] = OF(u4), [GRAFT_INT8] = OF(i8),
             [GRAFT_UINT8] = OF(u8), [GRAFT_INT16] = OF(i16), [GRAFT_UINT16] = OF(u16), [GRAFT_INT32] = OF(i32),
             [GRAFT_UINT32] = OF(u32)},
#undef OF
#define OF(NAME) VARIANT(NAME##_of_f32)
  .from_f32 = {SMALL_FLOATS(OF), [GRAFT_BOOL] = OF(bool), [GRAFT_INT4] = OF(i4), [GRAFT_UINT4] = OF(u4),
               [GRAFT_INT8] = OF(i8), [GRAFT_UINT8] = OF(u8), [GRAFT_INT16] = OF(i16), [GRAFT_UINT16] = OF(u16),
               [GRAFT_INT32] = OF(i32), [GRAFT_UINT32] = OF(u32), [GRAFT_INT64] = OF(i64), [GRAFT_UINT64] = OF(u64),
               [GRAFT_FLOAT16] = FAST_F16_OF_F32, [GRAFT_FLOAT64] = OF(f64), [GRAFT_COMPLEX64] = OF(c64),
               [GRAFT_COMPLEX128] = OF(c128)},
#undef OF
#define OF(NAME) VARIANT(NAME##_of_f64)
  .from_f64 = {SMALL_FLOATS(OF), [GRAFT_BOOL] = OF(bool), [GRAFT_INT4] = OF(i4), [GRAFT_UINT4] = OF(u4),
               [GRAFT_INT8] = OF(i8), [GRAFT_UINT8] = OF(u8), [GRAFT_INT16] = OF(i16), [GRAFT_UINT16] = OF(u16),
               [GRAFT_INT32] = OF(i32), [GRAFT_UINT32] = OF(u32), [GRAFT_INT64] = OF(i64), [GRAFT_UINT64] = OF(u64),
               [GRAFT_FLOAT16] = OF(f16), [GRAFT_FLOAT32] = OF(f32), [GRAFT_COMPLEX64] = OF(c64),
               [GRAFT_COMPLEX128] = OF(c128)},
#undef OF
#define OF(NAME) VARIANT(NAME##_of_i32)
  .from_i32 = {[GRAFT_BOOL] = OF(bool), [GRAFT_INT4] = OF(i4), [GRAFT_UINT4] = OF(i4), [GRAFT_INT8] = OF(i8),
               [GRAFT_UINT8] = OF(i8), [GRAFT_INT16] = OF(i16), [GRAFT_UINT16] = OF(i16)},
#undef OF
#define OF(NAME) VARIANT(NAME##_of_i64)
  .from_i64 = {SMALL_FLOATS(OF), [GRAFT_BOOL] = OF(bool), [GRAFT_INT4] = OF(i4), [GRAFT_UINT4] = OF(i4),
               [GRAFT_INT8] = OF(i8), [GRAFT_UINT8] = OF(i8), [GRAFT_INT16] = OF(i16), [GRAFT_UINT16] = OF(i16),
               [GRAFT_INT32] = OF(i32), [GRAFT_UINT32] = OF(i32), [GRAFT_FLOAT16] = OF(f16), [GRAFT_FLOAT32] = OF(f32),
               [GRAFT_FLOAT64] = OF(f64), [GRAFT_COMPLEX64] = OF(c64), [GRAFT_COMPLEX128] = OF(c128)},
#undef OF
#define OF(NAME) VARIANT(NAME##_of_u64)
  .floats_from_u64 = {SMALL_FLOATS(OF), [GRAFT_FLOAT16] = OF(f16), [GRAFT_FLOAT32] = OF(f32),
                      [GRAFT_FLOAT64] = OF(f64), [GRAFT_COMPLEX64] = OF(c64), [GRAFT_COMPLEX128] = OF(c128)},
#undef OF
  .bool_of_c64 = VARIANT(bool_of_c64),
  .bool_of_c128 = VARIANT(bool_of_c128),
  .unpack_4_pairs = VARIANT(unpack_4_pairs),
  .pack_4_pairs = VARIANT(pack_4_pairs),
};

#undef SMALL_FLOATS
#undef FAST_F32_OF_F16
#undef FAST_F16_OF_F32
#undef LOOP
