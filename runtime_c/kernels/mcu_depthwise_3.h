/* Depthwise 3 x 3 with DSP instructions: the input is read where it lies, without scratch. A filter's taps stay in
 * registers as pairs: of the first two tap rows a pair is a column, of the third it is two neighbours. Columns come
 * from the left, two at a time, and add to every output that they touch. */
#ifndef MCU_DEPTHWISE_3_H
#define MCU_DEPTHWISE_3_H

#include "mcu_depthwise.h"

/* w is [3][3]. right and last are the wrong way round, as they come cheapest: SMLADX meets them. */
struct taps {
    uint32_t left, middle, right; /* (w0, w3), (w1, w4), (w5, w2) */
    uint32_t first, last;         /* (w6, w7), (w8, w7) */
};

INLINE struct taps taps_of(const int8_t *w) {
    const uint32_t low = load_word(w), high = load_word(w + 4), w8 = (uint32_t)(int32_t)w[8];
    const uint32_t w02 = bytes_02(low), w13 = bytes_13(low), w46 = bytes_02(high), w57 = bytes_13(high);
    return (struct taps){low_and_high(w02, w13), lows(w13, w46), low_and_high(w57, w02), highs(w46, w57),
                         low_and_high(w8, w57)};
}

/* Where the next column of the three input rows lies. */
struct columns {
    const int8_t *x;
    int32_t second, third; /* bytes from the first row on */
    int32_t channels, ix, in_w;
    uint32_t zeros; /* two elements outside the image */
};

/* Two columns: a pair of the upper rows each, and a pair of the third row. */
struct two {
    uint32_t one, other, third;
};

INLINE uint32_t sample(const int8_t *x) {
    return (uint32_t)(int32_t)*x;
}

INLINE struct two inside_image(struct columns *at) {
    const int8_t *x = at->x, *next = x + at->channels;
    at->x = next + at->channels;
    return (struct two){lows(sample(x), sample(x + at->second)), lows(sample(next), sample(next + at->second)),
                        lows(sample(x + at->third), sample(next + at->third))};
}

/* ... of which either may be outside. */
INLINE struct two anywhere(struct columns *at) {
    struct two two = {at->zeros, at->zeros, at->zeros};
    const int8_t *x = at->x, *next = x + at->channels;
    if (at->ix >= 0 && at->ix < at->in_w) {
        two.one = lows(sample(x), sample(x + at->second));
        two.third = low_and_high(sample(x + at->third), two.third);
    }
    if (at->ix + 1 >= 0 && at->ix + 1 < at->in_w) {
        two.other = lows(sample(next), sample(next + at->second));
        two.third = lows(two.third, sample(next + at->third));
    }
    at->x = next + at->channels;
    at->ix += 2;
    return two;
}

/* Sums of the outputs that wait for their last columns: two at stride 1, one at stride 2. */
struct waiting {
    int32_t one, other;
};

/* The outputs that two columns complete. Those that wait are then the next. */
INLINE struct waiting completed(struct waiting *w, const struct taps *t, struct two x, int32_t bias, int32_t stride) {
    struct waiting full;
    if (stride == 1) {
        full.one = dot_low_low(dot_exchanged(w->one, x.one, t->right), x.third, t->last);
        full.other = dot_exchanged(dot_lanes(w->other, x.one, t->middle), x.other, t->right);
        full.other = dot_exchanged(full.other, x.third, t->last);
        w->one = dot_lanes(dot_lanes(dot_lanes(bias, x.one, t->left), x.other, t->middle), x.third, t->first);
        w->other = dot_high_low(dot_lanes(bias, x.other, t->left), x.third, t->first);
    } else {
        full.one = dot_exchanged(dot_lanes(w->one, x.one, t->middle), x.other, t->right);
        full.one = dot_exchanged(full.one, x.third, t->last);
        full.other = 0;
        w->one = dot_high_low(dot_lanes(bias, x.other, t->left), x.third, t->first);
    }
    return full;
}

/* The row of one channel; `at`: its first column. */
INLINE void filter3(const struct row *r, const struct taps *t, const struct channel *channel, struct columns at,
                    int32_t bias, int8_t *y, uint8_t *byte) {
    const int32_t stride = r->step, bytes = r->channels >> 3, outputs = stride == 1 ? 2 : 1;
    struct waiting waiting = {bias, bias};
    int32_t left = r->out_w, whole;
    if (stride == 2) { /* the column in front of the first window completes nothing */
        at.x -= r->channels;
        at.ix--;
    }
    completed(&waiting, t, anywhere(&at), bias, stride);
    whole = at.ix < 0 ? 0 : (r->in_w - at.ix) >> 1;
    whole = whole < left / outputs ? whole : left / outputs;
    left -= whole > 0 ? whole * outputs : 0;
    for (; whole > 0; whole--) {
        const struct waiting full = completed(&waiting, t, inside_image(&at), bias, stride);
        store_with_bit(r, channel, full.one, y, byte);
        y += r->channels;
        byte += bytes;
        if (stride == 1) {
            store_with_bit(r, channel, full.other, y, byte);
            y += r->channels;
            byte += bytes;
        }
        at.ix += 2;
    }
    while (left > 0) {
        const struct waiting full = completed(&waiting, t, anywhere(&at), bias, stride);
        store_with_bit(r, channel, full.one, y, byte);
        if (stride == 1 && left > 1) {
            store_with_bit(r, channel, full.other, y + r->channels, byte + bytes);
        }
        y += outputs * r->channels;
        byte += outputs * bytes;
        left -= outputs;
    }
}

/* A tap row outside the image stands over any row, with weights of 0. */
INLINE const int8_t *any_row(const struct row *r, int32_t iy) {
    return input_row(r, iy < 0 ? 0 : iy < r->in_h ? iy : r->in_h - 1);
}

INLINE void depthwise3(const struct row *r) {
    const int32_t first = 3 * first_tap(r), end = 3 * end_tap(r), has_all = first == 0 && end == 9;
    const int8_t *x = any_row(r, r->iy), *w = r->w;
    const uint32_t minus_zero = both_lanes(-r->in_zero);
    struct columns at = {
        x - r->left * r->channels, any_row(r, r->iy + 1) - x, any_row(r, r->iy + 2) - x, r->channels, -r->left, r->in_w,
        both_lanes(r->in_zero)};
    for (int32_t c = 0; c < r->channels; c++) {
        const struct channel channel = channel_of(r, c);
        int8_t kept[9];
        const int8_t *from = w;
        if (!has_all) {
            for (int32_t i = 0; i < 9; i++) {
                kept[i] = i >= first && i < end ? w[i] : 0;
            }
            from = kept;
        }
        const struct taps t = taps_of(from);
        /* the zero point is subtracted here, from all inputs at once, and stands for those outside the image */
        int32_t bias = dot_lanes(dot_lanes(r->bias[c], minus_zero, t.left), minus_zero, t.middle);
        bias = dot_lanes(dot_lanes(bias, minus_zero, t.right), minus_zero, t.first);
        bias = dot_low_low(bias, minus_zero, t.last);
        filter3(r, &t, &channel, at, bias, r->y + c, r->mask + (c >> 3));
        at.x++;
        w += 9;
    }
}

#endif
