/* Depthwise convolution with Helium: 8 channels side by side, two pixels at a time so that they share the weights.
 * Products are made of the even and of the odd channels, in 32 bits. */
#ifndef MCU_DEPTHWISE_MVE_H
#define MCU_DEPTHWISE_MVE_H

#include "mcu_depthwise.h"

#define MOST_ROWS 8 /* of a window whose pixels go in pairs */

/* 8 channels from c on, of which the last ones may not be there: `active` lanes of 16 bits; of 32 bits in two halves,
 * even and odd channels. begin: the bias less what the zero point adds where all taps are inside. */
struct group {
    int32_t c;
    mve_pred16_t active;
    int32x4_t bias[2], begin[2];
    float32x4_t scale[2];
};

/* Where the same tap of 8 filters lies. */
INLINE uint16x8_t filters_of(const struct row *r) {
    return vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)(r->kh * r->kw));
}

/* One tap of 8 filters. */
INLINE int16x8_t weights_of(const struct row *r, const struct group *g, int is_full, int32_t tap) {
    const int8_t *w = r->w + g->c * r->kh * r->kw + tap;
    const uint16x8_t filters = filters_of(r);
    return is_full ? vldrbq_gather_offset_s16(w, filters) : vldrbq_gather_offset_z_s16(w, filters, g->active);
}

INLINE struct group group_of(const struct row *r, int32_t c, int is_full) {
    const uint32_t n = (uint32_t)(r->channels - c);
    const uint32x4_t every_other = vidupq_n_u32(0, 2);
    const mve_pred16_t halves[2] = {vctp32q((n + 1) >> 1), vctp32q(n >> 1)};
    struct group g = {.c = c, .active = vctp16q(n)};
    int32x4_t sums[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
    for (int32_t tap = 0; tap < r->kh * r->kw; tap++) {
        const int16x8_t weights = weights_of(r, &g, is_full, tap);
        sums[0] = vaddq_s32(sums[0], vmovlbq_s16(weights));
        sums[1] = vaddq_s32(sums[1], vmovltq_s16(weights));
    }
    for (int32_t odd = 0; odd < 2; odd++) {
        const float *scale = (const float *)r->table + c + odd;
        g.bias[odd] = vldrwq_gather_shifted_offset_z_s32(r->bias + c + odd, every_other, halves[odd]);
        g.begin[odd] = vsubq_s32(g.bias[odd], vmulq_n_s32(sums[odd], r->in_zero));
        g.scale[odd] = vldrwq_gather_shifted_offset_z_f32(scale, every_other, halves[odd]);
    }
    return g;
}

/* Clamped outputs of one pixel, and a bit each where the clamp changed nothing. */
INLINE void store_group(const struct row *r, const struct group *g, int is_full, const int32x4_t acc[2],
                        int32_t pixel) {
    const int32_t element = pixel * r->channels + g->c;
    int32x4_t v[2];
    UNROLL for (int32_t odd = 0; odd < 2; odd++) {
        const int32x4_t nearest = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc[odd]), g->scale[odd]));
        v[odd] = vqaddq_n_s32(nearest, r->out_zero);
    }
    /* what does not fit 16 bits lies outside the clamp, too */
    const int16x8_t both = vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(v[0]), v[0]), v[1]);
    const int16x8_t limited = vminq_s16(vmaxq_s16(both, vdupq_n_s16((int16_t)r->lo)), vdupq_n_s16((int16_t)r->hi));
    if (is_full) {
        vstrbq_s16(r->y + element, limited);
    } else {
        vstrbq_p_s16(r->y + element, limited, g->active);
    }
    if (r->mask == 0) {
        return;
    }
    uint32_t bits = vcmpeqq_s16(both, limited) & g->active & 0x5555u; /* two bits a lane */
    bits = (bits | bits >> 1) & 0x3333u;
    bits = (bits | bits >> 2) & 0x0F0Fu;
    bits = (bits | bits >> 4) & 0x00FFu;
    if ((r->channels & 7) == 0) {
        r->mask[element >> 3] = (uint8_t)bits;
        return;
    }
    const uint32_t shifted = bits << (element & 7); /* the row was cleared */
    r->mask[element >> 3] |= (uint8_t)shifted;
    if (shifted > 0xFFu) {
        r->mask[(element >> 3) + 1] |= (uint8_t)(shifted >> 8);
    }
}

/* A pixel that is seen by the tap columns [begin, end). */
INLINE void border_pixel(const struct row *r, const struct group *g, int is_full, int32_t pixel, int32_t begin,
                         int32_t end) {
    int32x4_t acc[2] = {g->bias[0], g->bias[1]};
    for (int32_t ky = first_tap(r), stop = end_tap(r); ky < stop; ky++) {
        const int8_t *x = input_row(r, r->iy + ky) + (pixel * r->step - r->left + begin) * r->channels + g->c;
        for (int32_t kx = begin; kx < end; kx++, x += r->channels) {
            const int16x8_t weights = weights_of(r, g, is_full, ky * r->kw + kx);
            const int16x8_t inputs = is_full ? vldrbq_s16(x) : vldrbq_z_s16(x, g->active);
            const int16x8_t steps = vsubq_n_s16(inputs, (int16_t)r->in_zero);
            acc[0] = vaddq_s32(acc[0], vmullbq_int_s16(steps, weights));
            acc[1] = vaddq_s32(acc[1], vmulltq_int_s16(steps, weights));
        }
    }
    store_group(r, g, is_full, acc, pixel);
}

/* `n` taps of a row meet two pixels of 8 channels; inputs of the next tap lie `step` bytes further. Eight vectors, all
 * there are, which GCC would spill. */
INLINE void row_of_taps(int32x4_t acc[2][2], const int8_t *x, const int8_t *other, int32_t step, const int8_t *w,
                        uint16x8_t filters, int32_t n) {
    int16x8_t weights, inputs, products;
    __asm__ volatile("dls lr, %[n]\n"
                     "1:\n\t"
                     "vldrb.s16 %q[weights], [%[w], %q[filters]]\n\t"
                     "vldrb.s16 %q[inputs], [%[x]]\n\t"
                     "vmullb.s16 %q[products], %q[inputs], %q[weights]\n\t"
                     "vmullt.s16 %q[inputs], %q[inputs], %q[weights]\n\t"
                     "vadd.i32 %q[a], %q[a], %q[products]\n\t"
                     "vadd.i32 %q[b], %q[b], %q[inputs]\n\t"
                     "vldrb.s16 %q[inputs], [%[other]]\n\t"
                     "vmullb.s16 %q[products], %q[inputs], %q[weights]\n\t"
                     "vmullt.s16 %q[inputs], %q[inputs], %q[weights]\n\t"
                     "vadd.i32 %q[c], %q[c], %q[products]\n\t"
                     "vadd.i32 %q[d], %q[d], %q[inputs]\n\t"
                     "add %[x], %[step]\n\t"
                     "add %[other], %[step]\n\t"
                     "add %[w], #1\n\t"
                     "le lr, 1b"
                     : [a] "+w"(acc[0][0]), [b] "+w"(acc[0][1]), [c] "+w"(acc[1][0]), [d] "+w"(acc[1][1]),
                       [weights] "=&w"(weights), [inputs] "=&w"(inputs), [products] "=&w"(products), [x] "+l"(x),
                       [other] "+l"(other), [w] "+r"(w)
                     : [filters] "w"(filters), [step] "r"(step), [n] "r"(n)
                     : "lr", "memory");
}

/* Two neighbours that are seen by all taps: the zero point is in `begin`. rows: the input rows of the window. */
INLINE void inner_pixels(const struct row *r, const struct group *g, const int8_t *const *rows, int32_t pixel) {
    int32x4_t acc[2][2] = {{g->begin[0], g->begin[1]}, {g->begin[0], g->begin[1]}};
    const uint16x8_t filters = filters_of(r);
    const int32_t from = (pixel * r->step - r->left) * r->channels + g->c, next = r->step * r->channels;
    const int8_t *w = r->w + g->c * r->kh * r->kw;
    for (int32_t ky = 0; ky < r->kh; ky++, w += r->kw) {
        row_of_taps(acc, rows[ky] + from, rows[ky] + from + next, r->channels, w, filters, r->kw);
    }
    store_group(r, g, 1, acc[0], pixel);
    store_group(r, g, 1, acc[1], pixel + 1);
}

INLINE void border_pixels(const struct row *r, const struct group *g, int is_full, int32_t pixel, int32_t last) {
    for (; pixel < last; pixel++) {
        const int32_t ix = pixel * r->step - r->left;
        border_pixel(r, g, is_full, pixel, ix < 0 ? -ix : 0, r->in_w - ix < r->kw ? r->in_w - ix : r->kw);
    }
}

/* rows: 0 where some lie outside the image. */
INLINE void group_row(const struct row *r, int32_t c, int is_full, const int8_t *const *rows) {
    const struct group g = group_of(r, c, is_full);
    const int32_t first = (r->left + r->step - 1) / r->step, room = r->in_w - r->kw + r->left;
    const int32_t end = room < 0 ? 0 : room / r->step + 1; /* of the pixels that all tap columns see */
    int32_t pixel = 0;
    if (rows != 0 && is_full && first < end) {
        border_pixels(r, &g, is_full, 0, first);
        for (pixel = first; pixel + 2 <= end && pixel + 2 <= r->out_w; pixel += 2) {
            inner_pixels(r, &g, rows, pixel);
        }
    }
    border_pixels(r, &g, is_full, pixel, r->out_w);
}

INLINE void depthwise_mve(const struct row *r) {
    for (int32_t i = 0; r->has_mask && (r->channels & 7) != 0 && i < (r->out_w * r->channels + 7) >> 3; i++) {
        r->mask[i] = 0;
    }
    const int8_t *rows[MOST_ROWS];
    const int has_all = first_tap(r) == 0 && end_tap(r) == r->kh && r->kh <= MOST_ROWS;
    for (int32_t ky = 0; has_all && ky < r->kh; ky++) {
        rows[ky] = input_row(r, r->iy + ky);
    }
    int32_t c = 0;
    for (; c + 8 <= r->channels; c += 8) {
        group_row(r, c, 1, has_all ? rows : 0);
    }
    if (c < r->channels) {
        group_row(r, c, 0, 0);
    }
}

#endif
