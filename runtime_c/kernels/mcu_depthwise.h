/* What the forms of the depthwise convolution share. */
#ifndef MCU_DEPTHWISE_H
#define MCU_DEPTHWISE_H

#include "mcu_core.h"

/* One output row, and what it is made from. */
struct row {
    const int8_t *x, *w;
    const int32_t *bias;
    const void *table;
    int8_t *y;
    int16_t *rows;
    int32_t in_h, in_w, channels, ring, kh, kw, iy, step, left, out_w, in_zero, out_zero, lo, hi;
    enum rounding rounding;
    int32_t has_mask;
    uint8_t *mask;
};

/* What makes outputs of a channel's sums. */
struct channel {
    float scale;
    int32_t pair[2]; /* multiplier and shift */
    struct factor factor;
};

INLINE struct channel channel_of(const struct row *r, int32_t c) {
    struct channel channel = {0};
    if (r->rounding == EVEN) {
        channel.scale = ((const float *)r->table)[c];
    } else {
        channel.pair[0] = ((const int32_t *)r->table)[c];
        channel.pair[1] = ((const int32_t *)r->table)[r->channels + c];
        channel.factor = factor_of(r->table, c, r->channels, r->rounding);
    }
    return channel;
}

/* Stores the output of `acc`, and tells whether the clamp changed nothing. */
INLINE uint32_t store_output(const struct row *r, const struct channel *channel, int32_t acc, int8_t *y) {
    const void *table = r->rounding == EVEN ? (const void *)&channel->scale : (const void *)channel->pair;
    if (r->rounding != EVEN && channel->factor.right != 0) {
        return store_clamped(y, multiplied(acc, &channel->factor, r->rounding) + r->out_zero, r->lo, r->hi);
    }
    return store_clamped(y, requantised(acc, table, 0, 1, r->out_zero, r->rounding), r->lo, r->hi);
}

/* ... and of a multiple of 8 channels its bit in `byte`: in the course of 8 channels a bit wanders from the top to its
 * place, and whatever stood there before is gone. */
INLINE void store_with_bit(const struct row *r, const struct channel *channel, int32_t acc, int8_t *y, uint8_t *byte) {
    const uint32_t inside = store_output(r, channel, acc, y);
    if (r->has_mask) {
        *byte = (uint8_t)((*byte | inside << 8) >> 1);
    }
}

/* Input row `iy`. */
INLINE const int8_t *input_row(const struct row *r, int32_t iy) {
    return r->x + (r->ring != 0 ? iy % r->ring : iy) * r->in_w * r->channels;
}

/* The tap rows that lie inside the image are [first_tap(), end_tap()). */
INLINE int32_t first_tap(const struct row *r) {
    return r->iy < 0 ? -r->iy : 0;
}
INLINE int32_t end_tap(const struct row *r) {
    return r->in_h - r->iy < r->kh ? r->in_h - r->iy : r->kh;
}

#endif
