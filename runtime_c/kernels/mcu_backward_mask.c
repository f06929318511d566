/* Mask and scale of a gradient, float32, eight elements a byte of the mask. */
#include "mcu_core.h"

#if MCU_VFMA
/* A bit that is 0 makes 0 of its element; two bits a shift. */
#define BITS(by, high, low)                                                                                            \
    "lsls r12, r12, #" by "\n\t"                                                                                       \
    "it cc\n\t"                                                                                                        \
    "vmovcc.f32 " high ", s16\n\t"                                                                                     \
    "it pl\n\t"                                                                                                        \
    "vmovpl.f32 " low ", s16\n\t"
INLINE void mask8(float *out, int32_t out_step, const float *g, int32_t g_step, const uint8_t *mask, int32_t mask_step,
                  const float *scale, int32_t scale_step, int32_t n) {
    static const float none = 0.0f;
    /* clang-format off */
    __asm__ volatile("vldr s16, [%[none]]\n"
                     "1:\n\t"
                     "vldmia %[g], {s0-s7}\n\t"
                     "vldmia %[scale], {s8-s15}\n\t"
                     "ldrb r12, [%[mask]]\n\t"
                     "add %[g], %[g_step]\n\t"
                     "add %[scale], %[scale_step]\n\t"
                     "add %[mask], %[mask_step]\n\t"
                     "cmp r12, #255\n\t"
                     "vmul.f32 s0, s0, s8\n\t"
                     "vmul.f32 s1, s1, s9\n\t"
                     "vmul.f32 s2, s2, s10\n\t"
                     "vmul.f32 s3, s3, s11\n\t"
                     "vmul.f32 s4, s4, s12\n\t"
                     "vmul.f32 s5, s5, s13\n\t"
                     "vmul.f32 s6, s6, s14\n\t"
                     "vmul.f32 s7, s7, s15\n\t"
                     "beq 2f\n\t" BITS("25", "s7", "s6") BITS("2", "s5", "s4") BITS("2", "s3", "s2")
                         BITS("2", "s1", "s0") "2:\n\t"
                     "subs %[n], #1\n\t"
                     "vstmia %[out], {s0-s7}\n\t"
                     "add %[out], %[out_step]\n\t"
                     "bgt 1b"
                     : [out] "+r"(out), [g] "+r"(g), [mask] "+r"(mask), [scale] "+r"(scale), [n] "+r"(n)
                     : [out_step] "r"(4 * out_step), [g_step] "r"(4 * g_step), [mask_step] "r"(mask_step),
                       [scale_step] "r"(4 * scale_step), [none] "r"(&none)
                     : "r12", S0_TO_S15, "s16", "cc", "memory");
    /* clang-format on */
}
#else
INLINE void mask8(float *out, int32_t out_step, const float *g, int32_t g_step, const uint8_t *mask, int32_t mask_step,
                  const float *scale, int32_t scale_step, int32_t n) {
    for (; n > 0; n--) {
        float kept[8];
        UNROLL for (int32_t j = 0; j < 8; j++) {
            const float scaled = g[j] * scale[j];
            kept[j] = (*mask >> j & 1) != 0 ? scaled : 0.0f;
        }
        UNROLL for (int32_t j = 0; j < 8; j++) {
            out[j] = kept[j];
        }
        out += out_step;
        g += g_step;
        mask += mask_step;
        scale += scale_step;
    }
}
#endif

void mcu_mask_scale8(MCU_MASK_SCALE_ARGUMENTS, const float *scale, int32_t scale_step) {
    mask8(out, out_step, g, g_step, mask, mask_step, scale, scale_step, n);
}

void mcu_mask_scale8_by(MCU_MASK_SCALE_ARGUMENTS, float factor) {
    const float scale[8] = {factor, factor, factor, factor, factor, factor, factor, factor};
    mask8(out, out_step, g, g_step, mask, mask_step, scale, 0, n);
}

INLINE float masked(float scaled, const uint8_t *mask, int32_t bit) {
    return (mask[bit >> 3] >> (bit & 7) & 1) != 0 ? scaled : 0.0f;
}

void mcu_mask_scale1(float *out, const float *g, const uint8_t *mask, int32_t bit, int32_t n, const float *scale) {
    for (int32_t i = 0; i < n; i++) {
        out[i] = masked(g[i] * scale[i], mask, bit + i);
    }
}

void mcu_mask_scale1_by(float *out, const float *g, const uint8_t *mask, int32_t bit, int32_t n, float factor) {
    for (int32_t i = 0; i < n; i++) {
        out[i] = masked(g[i] * factor, mask, bit + i);
    }
}
