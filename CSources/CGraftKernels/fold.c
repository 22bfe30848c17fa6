// Small matrix products that are added to something larger, as a low-rank adapter to its weights.

#include "variants.h"

#include <errno.h>

// Registers of as many bytes as the variant has, and as many of them as leave room for a row of the factor.
typedef float vector_16 __attribute__((vector_size(16)));
typedef float vector_32 __attribute__((vector_size(32)));
typedef float vector_64 __attribute__((vector_size(64)));

#define VARIANT(NAME) NAME##_portable
#define VECTOR vector_16
#define VECTORS 2
#include "fold_loops.h"
#undef VARIANT
#undef VECTOR
#undef VECTORS

#if GRAFT_HAS_X86_VARIANTS
#pragma clang attribute push(__attribute__((target(GRAFT_AVX2_TARGET))), apply_to = function)
#define VARIANT(NAME) NAME##_avx2
#define VECTOR vector_32
#define VECTORS 2
#include "fold_loops.h"
#undef VARIANT
#undef VECTOR
#undef VECTORS
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target(GRAFT_AVX512_TARGET))), apply_to = function)
#define VARIANT(NAME) NAME##_avx512
#define VECTOR vector_64
#define VECTORS 4
#include "fold_loops.h"
#undef VARIANT
#undef VECTOR
#undef VECTORS
#pragma clang attribute pop
#endif

// The bytes from a matrix' first to its last element.
static size_t matrix_size(size_t rows, size_t columns, size_t stride) {
  return rows == 0 || columns == 0 ? 0 : ((rows - 1) * stride + columns) * sizeof(float);
}

int graft_fold_product(enum graft_variant variant, float *sum, size_t sum_stride, const float *left, size_t left_stride,
                       const float *right, size_t right_stride, size_t rows, size_t columns, size_t depth,
                       float scale) {
  if (!graft_variant_is_supported(variant)) return -ENOTSUP;
  if (sum_stride < columns || left_stride < depth || right_stride < columns) return -EINVAL;
  if (rows == 0 || columns == 0) return 0;
  if (sum == NULL || (depth > 0 && (left == NULL || right == NULL))) return -EINVAL;
  const size_t size = matrix_size(rows, columns, sum_stride);
  if (memories_overlap(sum, size, left, matrix_size(rows, depth, left_stride)) ||
      memories_overlap(sum, size, right, matrix_size(depth, columns, right_stride)))
    return -EINVAL;
#if GRAFT_HAS_X86_VARIANTS
  if (variant == GRAFT_AVX512) {
    fold_product_avx512(sum, sum_stride, left, left_stride, right, right_stride, rows, columns, depth, scale);
    return 0;
  }
  if (variant == GRAFT_AVX2) {
    fold_product_avx2(sum, sum_stride, left, left_stride, right, right_stride, rows, columns, depth, scale);
    return 0;
  }
#endif
  fold_product_portable(sum, sum_stride, left, left_stride, right, right_stride, rows, columns, depth, scale);
  return 0;
}
