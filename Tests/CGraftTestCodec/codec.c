#include "graft_test_codec.h"

#include <zstd.h>

size_t graft_test_zstd(
    const void *source, size_t source_count, void *destination, size_t destination_count, int level,
    bool has_content_size) {
    ZSTD_CCtx *const context = ZSTD_createCCtx();
    if (context == NULL) return 0;
    ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, has_content_size);
    const size_t count = ZSTD_compress2(context, destination, destination_count, source, source_count);
    ZSTD_freeCCtx(context);
    return ZSTD_isError(count) ? 0 : count;
}
