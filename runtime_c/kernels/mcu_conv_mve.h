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

#endif
