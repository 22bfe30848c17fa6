#include "graft_measure.h"

#include <zstd.h>

// The struct is zstd's own context under a name of ours: there is nothing else to keep.
struct graft_measure_zstd *graft_measure_zstd_open(void) { return (struct graft_measure_zstd *)ZSTD_createDCtx(); }

void graft_measure_zstd_close(struct graft_measure_zstd *decoder) { ZSTD_freeDCtx((ZSTD_DCtx *)decoder); }

ptrdiff_t graft_measure_zstd_decode(
    struct graft_measure_zstd *decoder, const void *source, size_t source_count, void *destination,
    size_t destination_count
) {
    size_t result = ZSTD_decompressDCtx((ZSTD_DCtx *)decoder, destination, destination_count, source, source_count);
    return ZSTD_isError(result) ? -1 : (ptrdiff_t)result;
}

struct graft_measure_zstd_encoder *graft_measure_zstd_encoder_open(int level) {
    ZSTD_CCtx *context = ZSTD_createCCtx();
    if (context != NULL && ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level))) {
        ZSTD_freeCCtx(context);
        return NULL;
    }
    return (struct graft_measure_zstd_encoder *)context;
}

void graft_measure_zstd_encoder_close(struct graft_measure_zstd_encoder *encoder) { ZSTD_freeCCtx((ZSTD_CCtx *)encoder); }

size_t graft_measure_zstd_bound(size_t count) { return ZSTD_compressBound(count); }

ptrdiff_t graft_measure_zstd_encode(
    struct graft_measure_zstd_encoder *encoder, const void *source, size_t source_count, void *destination,
    size_t destination_count
) {
    size_t result = ZSTD_compress2((ZSTD_CCtx *)encoder, destination, destination_count, source, source_count);
    return ZSTD_isError(result) ? -1 : (ptrdiff_t)result;
}
