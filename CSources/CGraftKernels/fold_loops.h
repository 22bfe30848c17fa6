// The loops of the matrix product, for one variant: see variants.h. Included by fold.c alone, once for each.

// Registers of as many bytes as the variant has, and as many of them as leave room for a row of the factor.
typedef float VARIANT(vector) __attribute__((vector_size(VARIANT_BYTES)));
#define VECTOR VARIANT(vector)
#define VECTORS (VARIANT_BYTES == 64 ? 4 : 2)

// A panel of ROWS rows and LANES × VECTORS columns of the sum, whose products stay in registers while the depth is walked.
#define PANEL(NAME, ROWS)                                                                                             \
  static void VARIANT(NAME)(any_f32 *sum, size_t sum_stride, const any_f32 *left, size_t left_stride,                 \
                            const any_f32 *right, size_t right_stride, size_t depth, float scale) {                   \
    VECTOR products[ROWS][VECTORS] = {0};                                                                             \
    for (size_t k = 0; k < depth; k++) {                                                                              \
      VECTOR row[VECTORS];                                                                                            \
      memcpy(row, right + k * right_stride, sizeof row);                                                              \
      _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                                              \
        const float factor = left[(size_t)r * left_stride + k];                                                       \
        _Pragma("unroll") for (int v = 0; v < VECTORS; v++) {                                                         \
          const VECTOR product = row[v] * factor;                                                                     \
          products[r][v] = products[r][v] + product;                                                                  \
        }                                                                                                             \
      }                                                                                                               \
    }                                                                                                                 \
    for (int r = 0; r < ROWS; r++) {                                                                                  \
      VECTOR row[VECTORS];                                                                                            \
      memcpy(row, sum + (size_t)r * sum_stride, sizeof row);                                                          \
      for (int v = 0; v < VECTORS; v++) {                                                                             \
        const VECTOR scaled = products[r][v] * scale;                                                                 \
        row[v] = row[v] + scaled;                                                                                     \
      }                                                                                                               \
      memcpy(sum + (size_t)r * sum_stride, row, sizeof row);                                                          \
    }                                                                                                                 \
  }
PANEL(panel_of_four, 4)
PANEL(panel_of_one, 1)
#undef PANEL

static void VARIANT(fold_product)(any_f32 *sum, size_t sum_stride, const any_f32 *left, size_t left_stride,
                                  const any_f32 *right, size_t right_stride, size_t rows, size_t columns, size_t depth,
                                  float scale) {
  enum { panel_columns = VECTORS * (sizeof(VECTOR) / sizeof(float)) };
  size_t c = 0;
  for (; c + panel_columns <= columns; c += panel_columns) {
    size_t r = 0;
    for (; r + 4 <= rows; r += 4)
      VARIANT(panel_of_four)(sum + r * sum_stride + c, sum_stride, left + r * left_stride, left_stride, right + c,
                             right_stride, depth, scale);
    for (; r < rows; r++)
      VARIANT(panel_of_one)(sum + r * sum_stride + c, sum_stride, left + r * left_stride, left_stride, right + c,
                            right_stride, depth, scale);
  }
  // The columns that are left, the same steps for each element.
  const size_t rest = columns - c;
  if (rest == 0) return;
  for (size_t r = 0; r < rows; r++) {
    float products[panel_columns] = {0};
    for (size_t k = 0; k < depth; k++) {
      const float factor = left[r * left_stride + k];
      for (size_t i = 0; i < rest; i++) {
        const float product = right[k * right_stride + c + i] * factor;
        products[i] = products[i] + product;
      }
    }
    for (size_t i = 0; i < rest; i++) {
      const float scaled = products[i] * scale;
      sum[r * sum_stride + c + i] = sum[r * sum_stride + c + i] + scaled;
    }
  }
}
#undef VECTOR
#undef VECTORS
