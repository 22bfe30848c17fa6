// The kernels that compute on tiles: casts, arithmetic, sums, random numbers, small matrix products.
//
// Every function works on `count` elements that lie side by side from the given address on, aligned or not. It is total
// (its arguments are either served or refused before a byte is written), allocates nothing, keeps no state and may run on
// many threads at once. What an element becomes depends on nothing but the arguments: not on the tile it came in, nor on
// the instructions that were chosen. No multiplication is fused with an addition, so that this holds on every processor.
//
// All of them return 0, or, having written nothing:
//   -EINVAL   a null pointer where there are elements, an unknown dtype, operation or figure, or memory that overlaps
//             where it must not
//   -ENOTSUP  instructions that this processor lacks, or dtypes that the function says it does not serve

#ifndef GRAFT_COMPUTE_H
#define GRAFT_COMPUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Which instructions a kernel may use. Each variant gives the same bits.
enum graft_variant { GRAFT_PORTABLE, GRAFT_AVX2, GRAFT_AVX512, GRAFT_VARIANT_COUNT };

// Whether this processor has a variant's instructions (AVX2 with F16C; AVX-512 F, BW, DQ and VL).
bool graft_variant_is_supported(enum graft_variant variant);

// The widest variant that this processor has.
enum graft_variant graft_variant_best(void);

// The dtypes, in the order of Swift's DType.
enum graft_dtype {
  GRAFT_BOOL,
  GRAFT_INT4,
  GRAFT_UINT4,
  GRAFT_INT8,
  GRAFT_UINT8,
  GRAFT_INT16,
  GRAFT_UINT16,
  GRAFT_INT32,
  GRAFT_UINT32,
  GRAFT_INT64,
  GRAFT_UINT64,
  GRAFT_FLOAT4_E2M1FN,
  GRAFT_FLOAT6_E2M3FN,
  GRAFT_FLOAT6_E3M2FN,
  GRAFT_FLOAT8_E3M4,
  GRAFT_FLOAT8_E4M3,
  GRAFT_FLOAT8_E4M3B11FNUZ,
  GRAFT_FLOAT8_E4M3FN,
  GRAFT_FLOAT8_E4M3FNUZ,
  GRAFT_FLOAT8_E5M2,
  GRAFT_FLOAT8_E5M2FNUZ,
  GRAFT_FLOAT8_E8M0FNU,
  GRAFT_BFLOAT16,
  GRAFT_FLOAT16,
  GRAFT_FLOAT32,
  GRAFT_FLOAT64,
  GRAFT_COMPLEX64,
  GRAFT_COMPLEX128,
  GRAFT_DTYPE_COUNT,
};

// How elements lie in memory. Elements of 4 or 6 bits are packed from the least significant bit of the first byte on, or,
// with `has_whole_bytes`, each has the low bits of a byte of its own, of which the high bits are written as 0 and not read.
// For wider dtypes `has_whole_bytes` is of no consequence. Packed elements that end within a byte leave its rest 0.
struct graft_format {
  uint8_t dtype;  // a graft_dtype
  bool has_whole_bytes;
};

// ---- Casts ----------------------------------------------------------------------------------------------------------

// Converts elements. Source and destination do not overlap. The result is that of NumPy's and ml_dtypes' astype:
//   to a float     the nearest number, of two equally near ones the even one, rounded once whatever the source is
//                  (ml_dtypes rounds float64 and integers to float32 first, and so at times to the second nearest).
//                  Too large numbers become infinity; where there is none, NaN; where there is no NaN either (float4,
//                  float6), the largest number. NaN stays NaN and keeps its sign where there is one; between bfloat16,
//                  float16 and wider it keeps the upper bits of its payload; where there is no NaN it becomes a zero.
//                  float8_e8m0fnu takes the nearest power of two, of two equally near ones the larger; what is not
//                  positive becomes NaN. (For numbers between 2^-127 and 1.5 × 2^-127 ml_dtypes gives 2^-126.)
//   int to int     modulo 2^width
//   float to int   the fraction is dropped; what is too large or small, which NumPy leaves undefined, becomes the largest or
//                  smallest integer, and NaN 0, as in XLA
//   to bool        whether it is other than zero; NaN is
//   complex        to a real dtype the real part alone; to bool whether either part is other than zero; from a real dtype the
//                  imaginary part is 0
int graft_cast(enum graft_variant variant, void *destination, struct graft_format destination_format,
               const void *source, struct graft_format source_format, size_t count);

// ---- Arithmetic -----------------------------------------------------------------------------------------------------

// What is done element by element; a and b are the operands, s and t the scalars.
enum graft_operation {
  GRAFT_ADD,         // a + b
  GRAFT_SUBTRACT,    // a - b
  GRAFT_MULTIPLY,    // a * b
  GRAFT_DIVIDE,      // a / b; for integers rounded down, and 0 where b is 0, as NumPy's floor_divide
  GRAFT_ACCUMULATE,  // a + s * b
  GRAFT_COMBINE,     // s * a + t * b
  GRAFT_SCALE,       // s * a; b is not used
  GRAFT_UNSCALE,     // a / s, as GRAFT_DIVIDE; b is not used
  GRAFT_OPERATION_COUNT,
};

struct graft_operand {
  const void *elements;
  struct graft_format format;
};

// Computes `operation` in the dtype `computed_in`: operands are cast to it, each operation is rounded to it, and the result
// is cast to the destination's, as graft_cast does. `computed_in` is float32, float64, int32, uint32, int64, uint64 (these
// wrap around), complex64 or complex128 (whose scalars are real).
//
// The destination may be exactly where an operand of the same format is, and may not overlap an operand otherwise.
// For integers the scalars must be whole numbers of a magnitude up to 2^53; they wrap around too.
int graft_compute(enum graft_variant variant, enum graft_operation operation, enum graft_dtype computed_in,
                  void *destination, struct graft_format destination_format, struct graft_operand a,
                  struct graft_operand b, double s, double t, size_t count);

// ---- Exact sums -----------------------------------------------------------------------------------------------------

enum { GRAFT_SUM_WORDS = 70 };

// A sum of products that was not rounded yet: an integer in two's complement, in units of 2^-2148, the least significant
// word first; and what was not finite. All zero is the sum of nothing. As nothing is rounded, a sum is the same in
// whatever order, pieces and threads it came about.
struct graft_sum {
  uint64_t words[GRAFT_SUM_WORDS];
  uint64_t nan_count, positive_infinity_count, negative_infinity_count;
};

// Adds the products of the elements of a and b to `sum`: the sum of squares where a and b are the same, the dot product
// otherwise. Serves real dtypes; int64 and uint64 are rounded to float64 first.
int graft_sum_products(enum graft_variant variant, struct graft_sum *sum, struct graft_operand a,
                       struct graft_operand b, size_t count);

// Adds one sum to another.
void graft_sum_merge(struct graft_sum *sum, const struct graft_sum *other);

// The float64 nearest to a sum; of two equally near ones the even one.
double graft_sum_value(const struct graft_sum *sum);

// ---- Random numbers -------------------------------------------------------------------------------------------------

enum graft_distribution {
  GRAFT_UNIFORM,           // from a on, below b
  GRAFT_NORMAL,            // mean a, standard deviation b
  GRAFT_TRUNCATED_NORMAL,  // the same before it is cut off at two standard deviations from the mean
  GRAFT_DISTRIBUTION_COUNT,
};

// The block of four words that Philox4x32-10 gives for a counter and a key, as published with Random123.
void graft_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

// Writes the elements `first` … `first + count` of an endless stream of random numbers, of which there is one for each seed
// and stream number. Element i depends on (seed, stream, i), the distribution and the destination's dtype alone.
//
// A Philox block is that of the counter (block number, stream) and the seed as key, low words first. Element i of a dtype
// below float64 takes word w = i % 4 of block i / 4, and u = (w + 1/2) / 2^32. Element i of float64 takes 64 bits, the low half
// first, of block i / 2; w is the upper 52 of them and u = (w + 1/2) / 2^52. The uniform distribution leaves the halves out.
//   uniform           a + (b - a) u
//   normal            a + b Φ⁻¹(u), by Wichura's algorithm AS 241 (PPND16), with a relative error of about 1e-16
//   truncated normal  a + b Φ⁻¹(Φ(-2) + (Φ(2) - Φ(-2)) u)
// all computed in float64 and rounded once to the destination's dtype, but within the bounds: not to b of a uniform
// distribution nor beyond the two standard deviations, unless the dtype has no number between the bounds. Serves float64,
// float32, float16 and bfloat16. a and b are finite; b - a is finite and above 0 for the uniform distribution, and b >= 0 for
// the others.
int graft_random(enum graft_variant variant, enum graft_distribution distribution, double a, double b, uint64_t seed,
                 uint64_t stream, uint64_t first, void *destination, enum graft_dtype dtype, size_t count);

// ---- Matrix products ------------------------------------------------------------------------------------------------

// Adds scale * (left × right) to `sum`, all of float32 in row-major order with rows `…_stride` elements apart: sum is rows ×
// columns, left rows × depth, right depth × columns. An element's products are added in order of the depth, from 0 on,
// then scaled, then added to the sum, each step rounded to float32: in whatever tiles the work is cut, the bits are the
// same. `sum` overlaps neither factor.
int graft_fold_product(enum graft_variant variant, float *sum, size_t sum_stride, const float *left, size_t left_stride,
                       const float *right, size_t right_stride, size_t rows, size_t columns, size_t depth, float scale);

#ifdef __cplusplus
}
#endif

#endif
