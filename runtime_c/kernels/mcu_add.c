/* Residual sums of int8 tensors whose scales differ, rounded as float32. */
#include "mcu_core.h"

struct operands {
    const int8_t *a, *b;
    float a_scale, b_scale, y_scale;
    int32_t a_zero, b_zero, zero;
};

INLINE int32_t sum(const struct operands *o, int32_t i) {
    const float a = (float)(o->a[i] - o->a_zero) * o->a_scale, b = (float)(o->b[i] - o->b_zero) * o->b_scale;
    return rounded((a + b) / o->y_scale, o->zero);
}

#if MCU_MVE
/* Helium has no division: it stays with the FPU, lane by lane. */
INLINE int32x4_t sum4(const struct operands *o, int32_t i, int32_t lo, int32_t hi) {
    const int32x4_t a = vsubq_n_s32(vldrbq_s32(o->a + i), o->a_zero), b = vsubq_n_s32(vldrbq_s32(o->b + i), o->b_zero);
    float32x4_t v = vaddq_f32(vmulq_n_f32(vcvtq_f32_s32(a), o->a_scale), vmulq_n_f32(vcvtq_f32_s32(b), o->b_scale));
    UNROLL for (int32_t lane = 0; lane < 4; lane++) {
        v[lane] = v[lane] / o->y_scale;
    }
    const int32x4_t steps = vqaddq_n_s32(vcvtnq_s32_f32(v), o->zero);
    return vminq_s32(vmaxq_s32(steps, vdupq_n_s32(lo)), vdupq_n_s32(hi));
}
#endif

void mcu_add_even(MCU_ADD_ARGUMENTS) {
    const struct operands o = {a, b, a_scale, b_scale, y_scale, a_zero, b_zero, zero};
    int32_t i = 0;
#if MCU_MVE
    for (; i + 4 <= n; i += 4) {
        vstrbq_s32(y + i, sum4(&o, i, lo, hi));
    }
#endif
    for (; i < n; i++) {
        y[i] = (int8_t)clamped(sum(&o, i), lo, hi);
    }
}

void mcu_add_even_mask(MCU_ADD_ARGUMENTS, uint8_t *mask) {
    const struct operands o = {a, b, a_scale, b_scale, y_scale, a_zero, b_zero, zero};
    for (int32_t first = 0; first < n; first += 8) {
        uint32_t bits = 0;
        for (int32_t i = first; i < first + 8 && i < n; i++) {
            const int32_t v = sum(&o, i), limited = clamped(v, lo, hi);
            y[i] = (int8_t)limited;
            bits |= (uint32_t)(v == limited) << (i & 7);
        }
        mask[first >> 3] = (uint8_t)bits;
    }
}
