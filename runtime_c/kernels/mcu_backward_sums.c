/* Gradients of weights and biases, float32: sums over positions. */
#include "mcu_core.h"

#if MCU_VFMA
/* out[j] += sum of g[j] over n positions, of 8 channels. */
INLINE void add8(float *out, const float *g, int32_t g_step, int32_t n) {
    __asm__ volatile("vldmia %[out], {s0-s7}\n"
                     "1:\n\t"
                     "vldmia %[g], {s8-s15}\n\t"
                     "subs %[n], #1\n\t"
                     "add %[g], %[g_step]\n\t"
                     "vadd.f32 s0, s0, s8\n\t"
                     "vadd.f32 s1, s1, s9\n\t"
                     "vadd.f32 s2, s2, s10\n\t"
                     "vadd.f32 s3, s3, s11\n\t"
                     "vadd.f32 s4, s4, s12\n\t"
                     "vadd.f32 s5, s5, s13\n\t"
                     "vadd.f32 s6, s6, s14\n\t"
                     "vadd.f32 s7, s7, s15\n\t"
                     "bgt 1b\n\t"
                     "vstmia %[out], {s0-s7}"
                     : [g] "+r"(g), [n] "+r"(n)
                     : [out] "r"(out), [g_step] "r"(4 * g_step)
                     : S0_TO_S15, "cc", "memory");
}

/* Two channels of x, 8 filters: filter i has s[2i] and s[2i + 1]. */
#define ROW(a, b, g) "vfma.f32 " a ", " g ", s24\n\tvfma.f32 " b ", " g ", s25\n\t"
INLINE void correlate8(float *out, int32_t out_step, const int8_t *x, int32_t x_step, const float *g, int32_t g_step,
                       int32_t n, int32_t zero) {
    float *to = out;
#define EACH(what)                                                                                                     \
    what("s0", "s1") what("s2", "s3") what("s4", "s5") what("s6", "s7") what("s8", "s9") what("s10", "s11")            \
        what("s12", "s13") what("s14", "s15")
#define LOAD(a, b) "vldmia %[out], {" a "-" b "}\n\tadd %[out], %[out_step]\n\t"
#define STORE(a, b) "vstmia %[to], {" a "-" b "}\n\tadd %[to], %[out_step]\n\t"
    /* clang-format off */
    __asm__ volatile(EACH(LOAD) "1:\n\t"
                                "ldrsb r12, [%[x]]\n\t"
                                "ldrsb lr, [%[x], #1]\n\t"
                                "vldmia %[g], {s16-s23}\n\t"
                                "sub r12, %[zero]\n\t"
                                "sub lr, %[zero]\n\t"
                                "vmov s24, s25, r12, lr\n\t"
                                "subs %[n], #1\n\t"
                                "vcvt.f32.s32 s24, s24\n\t"
                                "vcvt.f32.s32 s25, s25\n\t"
                                "add %[x], %[x_step]\n\t"
                                "add %[g], %[g_step]\n\t" ROW("s0", "s1", "s16") ROW("s2", "s3", "s17")
                                    ROW("s4", "s5", "s18") ROW("s6", "s7", "s19") ROW("s8", "s9", "s20")
                                        ROW("s10", "s11", "s21") ROW("s12", "s13", "s22") ROW("s14", "s15", "s23")
                                "bgt 1b\n\t" EACH(STORE)
                     : [out] "+r"(out), [to] "+r"(to), [x] "+r"(x), [g] "+r"(g), [n] "+r"(n)
                     : [out_step] "r"(4 * out_step), [x_step] "r"(x_step), [g_step] "r"(4 * g_step), [zero] "r"(zero)
                     : "r12", "lr", S0_TO_S15, S16_TO_S23, "s24", "s25", "cc", "memory");
    /* clang-format on */
#undef EACH
#undef LOAD
#undef STORE
}
#endif

/* out[j] += sum of g[j] over n positions, of `count` channels. */
INLINE void add(float *out, const float *g, int32_t g_step, int32_t n, int32_t count) {
    float acc[8];
    UNROLL for (int32_t j = 0; j < count; j++) {
        acc[j] = out[j];
    }
    for (; n > 0; n--) {
        UNROLL for (int32_t j = 0; j < count; j++) {
            acc[j] = acc[j] + g[j];
        }
        g += g_step;
    }
    UNROLL for (int32_t j = 0; j < count; j++) {
        out[j] = acc[j];
    }
}

void mcu_bias_grad8(MCU_BIAS_GRAD_ARGUMENTS) {
    for (int32_t c = 0; c < channels && n > 0; c += 8) {
#if MCU_VFMA
        add8(out + c, g + c, g_step, n);
#else
        add(out + c, g + c, g_step, n, 8);
#endif
    }
}

void mcu_bias_grad1(MCU_BIAS_GRAD_ARGUMENTS) {
    for (int32_t c = 0; c < channels; c++) {
        add(out + c, g + c, g_step, n, 1);
    }
}

/* x in steps of its scale: of integers (floats is 0) less the zero point. */
INLINE float real(const int8_t *x, const float *floats, int32_t at, int32_t zero) {
    return floats != 0 ? floats[at] : (float)(x[at] - zero);
}

/* Of `filters` filters and `width` channels of x. */
INLINE void correlate(float *out, int32_t out_step, const int8_t *x, const float *floats, int32_t x_step,
                      const float *g, int32_t g_step, int32_t n, int32_t zero, int32_t filters, int32_t width) {
    float acc[2][8];
    UNROLL for (int32_t i = 0; i < filters; i++) {
        UNROLL for (int32_t j = 0; j < width; j++) {
            acc[j][i] = out[i * out_step + j];
        }
    }
    for (int32_t p = 0; p < n; p++) {
        UNROLL for (int32_t j = 0; j < width; j++) {
            const float value = real(x, floats, p * x_step + j, zero);
            UNROLL for (int32_t i = 0; i < filters; i++) {
                acc[j][i] = mcu_fma(g[i], value, acc[j][i]);
            }
        }
        g += g_step;
    }
    UNROLL for (int32_t i = 0; i < filters; i++) {
        UNROLL for (int32_t j = 0; j < width; j++) {
            out[i * out_step + j] = acc[j][i];
        }
    }
}

INLINE void weight_grad(MCU_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, const float *floats, int32_t zero, int32_t count) {
    for (int32_t o = 0; o < filters && n > 0; o += count) {
        int32_t c = 0;
        for (; c + 2 <= channels; c += 2) {
#if MCU_VFMA
            if (count == 8 && floats == 0) {
                correlate8(out + c, out_step, x + c, x_step, g, g_step, n, zero);
                continue;
            }
#endif
            correlate(out + c, out_step, floats != 0 ? x : x + c, floats != 0 ? floats + c : 0, x_step, g, g_step, n,
                      zero, count, 2);
        }
        for (; c < channels; c++) {
            correlate(out + c, out_step, floats != 0 ? x : x + c, floats != 0 ? floats + c : 0, x_step, g, g_step, n,
                      zero, count, 1);
        }
        out += count * out_step;
        g += count;
    }
}

void mcu_weight_grad8(MCU_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero) {
    weight_grad(out, out_step, channels, x_step, g, g_step, filters, n, x, 0, zero, 8);
}

void mcu_weight_grad8_float(MCU_WEIGHT_GRAD_ARGUMENTS, const float *x) {
    weight_grad(out, out_step, channels, x_step, g, g_step, filters, n, 0, x, 0, 8);
}

/* Filters in fours, then the rest. */
INLINE void few_filters(MCU_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, const float *floats, int32_t zero) {
    const int32_t whole = filters / 4 * 4;
    weight_grad(out, out_step, channels, x_step, g, g_step, whole, n, x, floats, zero, 4);
    out += whole * out_step;
    weight_grad(out, out_step, channels, x_step, g + whole, g_step, filters - whole, n, x, floats, zero, 1);
}

void mcu_weight_grad1(MCU_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero) {
    few_filters(out, out_step, channels, x_step, g, g_step, filters, n, x, 0, zero);
}

void mcu_weight_grad1_float(MCU_WEIGHT_GRAD_ARGUMENTS, const float *x) {
    few_filters(out, out_step, channels, x_step, g, g_step, filters, n, 0, x, 0);
}

/* One tap of a depthwise weight, of `count` channels at a time. */
INLINE void depthwise(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, const float *floats, int32_t zero,
                      int32_t count) {
    for (int32_t c = 0; c < channels; c += count) {
        float acc[8];
        UNROLL for (int32_t j = 0; j < count; j++) {
            acc[j] = out[(c + j) * out_step];
        }
        for (int32_t p = 0; p < n; p++) {
            UNROLL for (int32_t j = 0; j < count; j++) {
                acc[j] = mcu_fma(g[p * g_step + c + j], real(x, floats, p * x_step + c + j, zero), acc[j]);
            }
        }
        UNROLL for (int32_t j = 0; j < count; j++) {
            out[(c + j) * out_step] = acc[j];
        }
    }
}

void mcu_depthwise_weight_grad8(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero) {
    depthwise(out, out_step, channels, x_step, g, g_step, n, x, 0, zero, 8);
}

void mcu_depthwise_weight_grad8_float(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const float *x) {
    depthwise(out, out_step, channels, x_step, g, g_step, n, 0, x, 0, 8);
}

void mcu_depthwise_weight_grad1(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero) {
    depthwise(out, out_step, channels, x_step, g, g_step, n, x, 0, zero, 1);
}

void mcu_depthwise_weight_grad1_float(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const float *x) {
    depthwise(out, out_step, channels, x_step, g, g_step, n, 0, x, 0, 1);
}
