// Small matrix products that are added to something larger, as a low-rank adapter to its weights.

#include "variants.h"

#include <errno.h>

#define VARIANT_LOOPS "fold_loops.h"
#include "for_each_variant.h"

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
  GRAFT_OF_VARIANT(variant, fold_product)
  (sum, sum_stride, left, left_stride, right, right_stride, rows, columns, depth, scale);
  return 0;
}
