/* Forward convolution with Helium, for mcu_conv.c and mcu_conv_full.c. The columns of a pixel are its inputs themselves,
 * as bytes; what the zero point takes off is subtracted from a filter's sums at the end: zero * (sum of its weights). */
#ifndef MCU_CONV_MVE_H
#define MCU_CONV_MVE_H

#include "mcu_columns.h"

/* Behind the n inputs of a pixel lies readable memory, which meets weights of 0. */
INLINE void dot4(int32_t acc[4], const int16_t *columns, const int8_t *w, int32_t n) {
    const int8_t *x = (const int8_t *)columns;
    const int32_t stride = padded(n), zero = columns_zero(columns, n, 4);
    for (int32_t k = 0; k < n; k += 16) {
        const int8x16_t some = vldrbq_z_s8(w + k, vctp8q((uint32_t)(n - k)));
        const int32_t subtracted = zero * vaddvq_s8(some);
        UNROLL for (int32_t p = 0; p < 4; p++) {
            acc[p] = vmladavaq_s8(acc[p], vldrbq_s8(x + p * stride + k), some) - subtracted;
        }
    }
}

/* Outputs of 4 lanes, clamped; `inside`: where the clamp changed nothing. */
INLINE int32x4_t outputs(int32x4_t acc, float32x4_t scale, int32_t zero, int32_t lo, int32_t hi, mve_pred16_t *inside) {
    const int32x4_t v = vqaddq_n_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc), scale)), zero);
    const int32x4_t limited = vminq_s32(vmaxq_s32(v, vdupq_n_s32(lo)), vdupq_n_s32(hi));
    *inside = vcmpeqq_s32(v, limited);
    return limited;
}

/* ... over the whole range of int8: the lowest byte of each lane. */
INLINE int32x4_t full_outputs(int32x4_t acc, float32x4_t scale, int32_t zero) {
    const int32x4_t v = vqaddq_n_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc), scale)), zero);
    const int16x8_t halves = vqmovnbq_s32(vreinterpretq_s16_s32(v), v);
    return vreinterpretq_s32_s8(vqmovnbq_s16(vreinterpretq_s8_s16(halves), halves));
}

/* Products of one filter with 4 pixels, `stride` bytes apart, are added to acc; returns the sum of its weights. The
 * loop ends inside a vector where n does, which GCC 12 has no words for; sums of vectors lie in even registers. */
INLINE int32_t products4(int32_t acc[4], const int8_t *x, int32_t stride, const int8_t *w, int32_t n) {
    register int32_t a __asm__("r0") = acc[0], b __asm__("r2") = acc[1], c __asm__("r4") = acc[2];
    register int32_t d __asm__("r6") = acc[3], weights __asm__("r8") = 0, count __asm__("lr") = n;
    const int8_t *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    __asm__ volatile("dlstp.8 lr, lr\n"
                     "1:\n\t"
                     "vldrb.u8 q0, [%[w]], #16\n\t"
                     "vldrb.u8 q1, [%[x]], #16\n\t"
                     "vmlava.s8 %[a], q1, q0\n\t"
                     "vldrb.u8 q1, [%[x1]], #16\n\t"
                     "vmlava.s8 %[b], q1, q0\n\t"
                     "vldrb.u8 q1, [%[x2]], #16\n\t"
                     "vmlava.s8 %[c], q1, q0\n\t"
                     "vldrb.u8 q1, [%[x3]], #16\n\t"
                     "vmlava.s8 %[d], q1, q0\n\t"
                     "vaddva.s8 %[weights], q0\n\t"
                     "letp lr, 1b"
                     : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [weights] "+r"(weights), [w] "+r"(w),
                       [x] "+r"(x), [x1] "+r"(x1), [x2] "+r"(x2), [x3] "+r"(x3), "+r"(count)
                     :
                     : "q0", "q1", "memory");
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
    return weights;
}

/* Four filters at a time: their sums lie in memory by pixel and come back by filter, so that the outputs of a pixel are
 * stored with one instruction. n1 is 0 but for split weights. */
INLINE void filters4(MCU_CONV_FULL_ARGUMENTS, int is_short) {
    const int32_t stride0 = padded(n0), stride1 = padded(n1);
    const mve_pred16_t there = vctp8q((uint32_t)n0);
    int8x16_t x[4]; /* of up to 16 inputs a pixel is one vector */
    UNROLL for (int32_t p = 0; p < 4; p++) {
        x[p] = vldrbq_z_s8((const int8_t *)columns + p * stride0, there);
    }
    const int16_t *second = columns + 4 * stride0;
    const int32_t zero0 = columns_zero(columns, n0, 4), zero1 = n1 != 0 ? columns_zero(second, n1, 4) : 0;
    int32_t o = 0;
    for (; o + 4 <= filters; o += 4) {
        int32_t sums[4][4], weights[4];
        if (is_short) {
            UNROLL for (int32_t f = 0; f < 4; f++, w0 += n0) {
                const int8x16_t filter = vldrbq_z_s8(w0, there);
                weights[f] = zero0 * vaddvq_s8(filter);
                UNROLL for (int32_t p = 0; p < 4; p++) {
                    sums[f][p] = vmladavq_s8(x[p], filter);
                }
            }
        } else {
            for (int32_t f = 0; f < 4; f++, w0 += n0) {
                int32_t acc[4] = {0, 0, 0, 0};
                weights[f] = zero0 * products4(acc, (const int8_t *)columns, stride0, w0, n0);
                if (n1 != 0) {
                    weights[f] += zero1 * products4(acc, (const int8_t *)second, stride1, w1, n1);
                    w1 += n1;
                }
                UNROLL for (int32_t p = 0; p < 4; p++) {
                    sums[f][p] = acc[p];
                }
            }
        }
        const int32x4x4_t by_pixel = vld4q_s32(&sums[0][0]);
        const int32x4_t begin = vsubq_s32(vld1q_s32(bias + o), vld1q_s32(weights));
        const float32x4_t scale = vld1q_f32(table + o);
        UNROLL for (int32_t p = 0; p < 4; p++) {
            vstrbq_s32(y + p * filters + o, full_outputs(vaddq_s32(by_pixel.val[p], begin), scale, zero));
        }
    }
    for (; o < filters; o++, w0 += n0, w1 += n1) { /* up to three more, one by one */
        int32_t acc[4] = {bias[o], bias[o], bias[o], bias[o]};
        dot4(acc, columns, w0, n0);
        if (n1 != 0) {
            dot4(acc, second, w1, n1);
        }
        const int32x4_t all = {acc[0], acc[1], acc[2], acc[3]};
        vstrbq_scatter_offset_s32(y + o, vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)filters),
                                  full_outputs(all, vdupq_n_f32(table[o]), zero));
    }
}

#endif
