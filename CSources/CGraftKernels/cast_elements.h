// What one element of a dtype becomes as another: the scalar functions that every loop of the casts is made of, without a
// branch, so that the compiler can vectorise them.

#ifndef GRAFT_CAST_ELEMENTS_H
#define GRAFT_CAST_ELEMENTS_H

#include "variants.h"

// ---- Small floating-point formats -----------------------------------------------------------------------------------

// What is special about a format; see FloatFormat in Swift, which has the same cases.
enum specials { IEEE, NAN_ONLY, NO_SPECIALS, NEGATIVE_ZERO_IS_NAN };

// Calls X(name, exponent bits, significand bits, bias, specials) for every format with sign and significand up to 16 bits
// but bfloat16, which is half a float32.
#define FOR_EACH_SMALL_FLOAT(X)                                 \
  X(f4_e2m1fn, 2, 1, 1, NO_SPECIALS)                            \
  X(f6_e2m3fn, 2, 3, 1, NO_SPECIALS)                            \
  X(f6_e3m2fn, 3, 2, 3, NO_SPECIALS)                            \
  X(f8_e3m4, 3, 4, 3, IEEE)                                     \
  X(f8_e4m3, 4, 3, 7, IEEE)                                     \
  X(f8_e4m3b11fnuz, 4, 3, 11, NEGATIVE_ZERO_IS_NAN)             \
  X(f8_e4m3fn, 4, 3, 7, NAN_ONLY)                               \
  X(f8_e4m3fnuz, 4, 3, 8, NEGATIVE_ZERO_IS_NAN)                 \
  X(f8_e5m2, 5, 2, 15, IEEE)                                    \
  X(f8_e5m2fnuz, 5, 2, 16, NEGATIVE_ZERO_IS_NAN)

GRAFT_INLINE float decode_small(uint32_t code, int exponent_bits, int significand_bits, int bias,
                                enum specials specials) {
  const uint32_t magnitude = code & ((1u << (exponent_bits + significand_bits)) - 1);
  const uint32_t sign = (code >> (exponent_bits + significand_bits) & 1) << 31;
  const uint32_t infinity = ((1u << exponent_bits) - 1) << significand_bits;
  const uint32_t normal = (magnitude << (23 - significand_bits)) + ((uint32_t)(127 - bias) << 23);
  // Below the lowest exponent numbers are spaced evenly; the product is exact, 2^(1 - bias - significand bits) a normal float.
  const float unit = f32_of_bits((uint32_t)(128 - bias - significand_bits) << 23);
  const uint32_t subnormal = bits_of_f32((float)(int32_t)magnitude * unit);
  uint32_t bits = magnitude >> significand_bits == 0 ? subnormal : normal;
  if (specials == IEEE) {
    // Infinity, and NaN, made quiet as the processor does, with what a 16-bit float has of a payload.
    const uint32_t payload = significand_bits >= 7 ? magnitude << (23 - significand_bits) : 0;
    const uint32_t special = 0x7F800000 | (magnitude > infinity ? payload | 0x400000 : 0);
    bits = magnitude >= infinity ? special : bits;
  } else if (specials == NAN_ONLY) {
    bits = magnitude == (1u << (exponent_bits + significand_bits)) - 1 ? 0x7FC00000 : bits;
  } else if (specials == NEGATIVE_ZERO_IS_NAN) {
    bits = magnitude == 0 && sign != 0 ? 0x7FC00000 : bits;
  }
  return f32_of_bits(bits | sign);
}

GRAFT_INLINE uint32_t encode_small(float value, int exponent_bits, int significand_bits, int bias,
                                   enum specials specials) {
  const uint32_t bits = bits_of_f32(value);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  const uint32_t sign_bit = 1u << (exponent_bits + significand_bits);
  const uint32_t sign = bits >> 31 ? sign_bit : 0;
  const int dropped = 23 - significand_bits;
  // Normal: move the exponent, then round the dropped bits away; a carry goes into the exponent, as it should.
  const uint32_t moved = magnitude - ((uint32_t)(127 - bias) << 23);
  const uint32_t normal = (moved + ((1u << (dropped - 1)) - 1) + (moved >> dropped & 1)) >> dropped;
  // Subnormal: the last bit of `magic` is worth the format's smallest number, so that the addition rounds there.
  const uint32_t magic = (uint32_t)(127 + 24 - bias - significand_bits) << 23;
  const uint32_t subnormal = bits_of_f32(f32_of_bits(magnitude) + f32_of_bits(magic)) - magic;
  uint32_t code = magnitude < (uint32_t)(128 - bias) << 23 ? subnormal : normal;
  const bool is_nan = magnitude > 0x7F800000;
  switch (specials) {
    case IEEE: {
      const uint32_t infinity = sign_bit - (1u << significand_bits);
      const uint32_t payload = significand_bits >= 7 ? magnitude >> dropped & ((1u << significand_bits) - 1) : 0;
      const uint32_t nan = infinity | payload | 1u << (significand_bits - 1);
      code = code > infinity ? infinity : code;
      return sign | (is_nan ? nan : code);
    }
    case NAN_ONLY: return sign | (code > sign_bit - 2 ? sign_bit - 1 : code);
    case NEGATIVE_ZERO_IS_NAN: return code > sign_bit - 1 ? sign_bit : code == 0 ? 0 : sign | code;
    case NO_SPECIALS: break;
  }
  // ml_dtypes takes a NaN for a zero of the other sign.
  return is_nan ? sign ^ sign_bit : sign | (code > sign_bit - 1 ? sign_bit - 1 : code);
}

GRAFT_INLINE float decode_e8m0(uint32_t code) {
  // Code 0 is 2^-127, a subnormal float.
  const uint32_t bits = code == 0 ? 0x00400000 : code << 23;
  return f32_of_bits(code == 0xFF ? 0x7FC00000 : bits);
}

GRAFT_INLINE uint32_t encode_e8m0(float value) {
  const uint32_t bits = bits_of_f32(value);
  // Half of the significand's range rounds up. Below 2^-126 the float's significand has no leading bit.
  const uint32_t normal = (bits + 0x00400000) >> 23;
  const uint32_t code = bits < 0x00800000 ? (bits >= 0x00600000 ? 1 : 0) : normal;
  // Zero, whatever is negative, infinity and NaN, and what rounds to 2^128.
  return bits - 1 >= 0x7F7FFFFF || code > 0xFE ? 0xFF : code;
}

GRAFT_INLINE float decode_bf16(uint32_t code) { return f32_of_bits(code << 16); }

GRAFT_INLINE uint32_t encode_bf16(float value) {
  const uint32_t bits = bits_of_f32(value);
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  // A payload in the lower half alone must not become an infinity.
  return (bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded;
}

// ---- Rounding once --------------------------------------------------------------------------------------------------

// Rounds to float32 so that rounding the result once more, to at most 22 bits, is as rounding the value once: what is
// inexact is cut off and its last bit set, which keeps on which side of a tie it was.
GRAFT_INLINE float odd_f32_of_f64(double value) {
  const float near = (float)value;
  const double back = (double)near;
  const uint32_t bits = bits_of_f32(near);
  const double magnitude = f64_of_bits(bits_of_f64(value) & INT64_MAX);
  const double back_magnitude = f64_of_bits(bits_of_f64(back) & INT64_MAX);
  const uint32_t cut = (bits - (back_magnitude > magnitude ? 1 : 0)) | 1;
  // NaN differs from itself, and keeps its bits.
  const bool is_exact = back == value || value != value;
  return f32_of_bits(is_exact ? bits : cut);
}

// The same from integers: the upper bits are kept, the last of them set when anything below is.
GRAFT_INLINE float odd_f32_of_u64(uint64_t value) {
  const uint64_t sticky = (value & ~(uint64_t)0x7FF) | ((value & 0x7FF) != 0 ? 0x800 : 0);
  return odd_f32_of_f64((double)(value >> 53 == 0 ? value : sticky));
}

GRAFT_INLINE float odd_f32_of_i64(int64_t value) {
  const uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  const uint32_t bits = bits_of_f32(odd_f32_of_u64(magnitude));
  return f32_of_bits(value < 0 ? bits | 0x80000000 : bits);
}

// ---- Integers -------------------------------------------------------------------------------------------------------

// Without the fraction, within [low, high], 0 for NaN. Both bounds and what lies between are exact in the float's type.
#define CLAMPED(TYPE, LOW, HIGH, VALUE)                              \
  ({                                                                 \
    const TYPE clamped_value = (VALUE);                              \
    const TYPE clamped_number = clamped_value == clamped_value ? clamped_value : 0; \
    const TYPE clamped_above = clamped_number < (LOW) ? (LOW) : clamped_number;     \
    clamped_above > (HIGH) ? (HIGH) : clamped_above;                 \
  })

GRAFT_INLINE int64_t i64_of_f64(double value) {
  const bool is_inside = value >= -0x1p63 && value < 0x1p63;
  const int64_t inside = (int64_t)(is_inside ? value : 0);
  const int64_t outside = value != value ? 0 : value > 0 ? INT64_MAX : INT64_MIN;
  return is_inside ? inside : outside;
}

GRAFT_INLINE uint64_t u64_of_f64(double value) {
  const bool is_inside = value > -1 && value < 0x1p64;
  // In two halves, as a conversion to signed integers is what processors have.
  const double number = is_inside ? value : 0;
  const bool is_high = number >= 0x1p63;
  const uint64_t inside = (uint64_t)(int64_t)(is_high ? number - 0x1p63 : number) + ((uint64_t)is_high << 63);
  return is_inside ? inside : value >= 0x1p64 ? UINT64_MAX : 0;
}

GRAFT_INLINE int32_t i32_of_i4(uint32_t code) { return (int32_t)(code << 28) >> 28; }

#endif
