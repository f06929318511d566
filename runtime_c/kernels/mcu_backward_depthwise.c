/* Gradient of a depthwise convolution with respect to its input, float32: tap by tap, last one first, so that each
 * element meets the positions of g in ascending order. */
#include "mcu_core.h"

enum form { INTEGERS, FLOATS };

/* A rectangle of positions of g and where each of them adds, the weights of a tap; steps and distances in bytes. The
 * order is the one that the assembly knows. */
struct tap {
    const void *w;
    int32_t w_step; /* to the next channel's */
    float *out;
    const float *g;
    int32_t out_step, g_step;     /* to the next column */
    int32_t out_behind, g_behind; /* from behind a row to the next one */
    int32_t rows, columns;        /* at least one of both */
};

#if MCU_VFMA
FIELD_AT(struct tap, out, 8);
FIELD_AT(struct tap, columns, 36);
#define INTEGER(a)                                                                                                     \
    "ldrsb lr, [r3]\n\t"                                                                                               \
    "add r3, r4\n\t"                                                                                                   \
    "vmov " a ", lr\n\t"                                                                                               \
    "vcvt.f32.s32 " a ", " a "\n\t"
#define FLOAT(a)                                                                                                       \
    "vldr " a ", [r3]\n\t"                                                                                             \
    "add r3, r4\n\t"
/* clang-format off */
#define ADD8(load)                                                                                                     \
    __asm__ volatile("ldm %[tap]!, {r3, r4}\n\t" load("s16") load("s17") load("s18") load("s19") load("s20")           \
                         load("s21") load("s22") load("s23") "ldm %[tap], {r3-r6, r8-r10, r12}\n"                      \
                     "1:\n\t"                                                                                          \
                     "mov lr, r12\n"                                                                                   \
                     "2:\n\t"                                                                                          \
                     "vldmia r3, {s0-s7}\n\t"                                                                          \
                     "vldmia r4, {s8-s15}\n\t"                                                                         \
                     "subs lr, #1\n\t"                                                                                 \
                     "add r4, r6\n\t"                                                                                  \
                     "vfma.f32 s0, s8, s16\n\t"                                                                        \
                     "vfma.f32 s1, s9, s17\n\t"                                                                        \
                     "vfma.f32 s2, s10, s18\n\t"                                                                       \
                     "vfma.f32 s3, s11, s19\n\t"                                                                       \
                     "vfma.f32 s4, s12, s20\n\t"                                                                       \
                     "vfma.f32 s5, s13, s21\n\t"                                                                       \
                     "vfma.f32 s6, s14, s22\n\t"                                                                       \
                     "vfma.f32 s7, s15, s23\n\t"                                                                       \
                     "vstmia r3, {s0-s7}\n\t"                                                                          \
                     "add r3, r5\n\t"                                                                                  \
                     "bgt 2b\n\t"                                                                                      \
                     "subs r10, #1\n\t"                                                                                \
                     "add r3, r8\n\t"                                                                                  \
                     "add r4, r9\n\t"                                                                                  \
                     "bgt 1b"                                                                                          \
                     : [tap] "+r"(tap)                                                                                 \
                     :                                                                                                 \
                     : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r12", "lr", S0_TO_S15, S16_TO_S23, "cc", "memory")
/* clang-format on */
#endif

INLINE void add(const struct tap *tap, enum form form, int32_t count) {
#if MCU_VFMA
    if (count == 8 && form == INTEGERS) {
        ADD8(INTEGER);
        return;
    }
    if (count == 8) {
        ADD8(FLOAT);
        return;
    }
#endif
    float *out = tap->out, w[8];
    const float *g = tap->g;
    UNROLL for (int32_t j = 0; j < count; j++) {
        w[j] = form == INTEGERS ? (float)((const int8_t *)tap->w)[j * tap->w_step]
                                : ((const float *)tap->w)[j * tap->w_step / 4];
    }
    for (int32_t y = 0; y < tap->rows; y++) {
        for (int32_t x = 0; x < tap->columns; x++) {
            float acc[8];
            UNROLL for (int32_t j = 0; j < count; j++) {
                acc[j] = mcu_fma(g[j], w[j], out[j]);
            }
            UNROLL for (int32_t j = 0; j < count; j++) {
                out[j] = acc[j];
            }
            out += tap->out_step / 4;
            g += tap->g_step / 4;
        }
        out += tap->out_behind / 4;
        g += tap->g_behind / 4;
    }
}

/* The first position at `stride` whose tap is not before 0: position * stride + before >= 0. */
INLINE int32_t inside(int32_t before, int32_t stride) {
    return before >= 0 ? 0 : (stride - 1 - before) / stride;
}

INLINE int32_t smaller(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* Row r of a ring is in slot r mod `ring`. */
INLINE int32_t slot(int32_t row, int32_t ring) {
    return ring != 0 ? row % ring : row;
}

INLINE void depthwise(MCU_DEPTHWISE_GRAD_ARGUMENTS, const void *w, enum form form, int32_t count) {
    const int32_t size = form == INTEGERS ? 1 : 4, follow = ring_in == 0 && ring_out == 0; /* rows of a ring do not */
    struct tap tap;
    tap.w_step = size * kh * kw;
    tap.out_step = 4 * sx * out_step;
    tap.g_step = 4 * g_step;
    for (int32_t ky = kh - 1; ky >= 0; ky--) {
        const int32_t first = inside(ky - top - y0, sy), end = smaller(out_h, inside(ky - top - y1, sy));
        for (int32_t oy = first, rows = follow ? end - first : 1; oy < end; oy += rows) {
            float *const row = out + slot(oy * sy + ky - top, ring_out) * in_w * out_step;
            const float *const g_row = g + slot(oy, ring_in) * out_w * g_step;
            tap.rows = rows;
            for (int32_t kx = kw - 1; kx >= 0; kx--) {
                const int32_t x = inside(kx - left, sx);
                tap.columns = smaller(out_w, inside(kx - left - in_w, sx)) - x;
                if (tap.columns > 0) {
                    tap.w = (const int8_t *)w + size * (ky * kw + kx);
                    tap.out = row + (x * sx + kx - left) * out_step;
                    tap.g = g_row + x * g_step;
                    tap.out_behind = 4 * sy * in_w * out_step - tap.columns * tap.out_step;
                    tap.g_behind = (out_w - tap.columns) * tap.g_step;
                    add(&tap, form, count);
                }
            }
        }
    }
}

#define ARGUMENTS out, out_step, in_w, ring_out, g, g_step, out_h, out_w, ring_in, kh, kw, sy, sx, top, left, y0, y1, w

void mcu_depthwise_grad8(MCU_DEPTHWISE_GRAD_ARGUMENTS, const int8_t *w) {
    depthwise(ARGUMENTS, INTEGERS, 8);
}

void mcu_depthwise_grad8_float(MCU_DEPTHWISE_GRAD_ARGUMENTS, const float *w) {
    depthwise(ARGUMENTS, FLOATS, 8);
}

void mcu_depthwise_grad1(MCU_DEPTHWISE_GRAD_ARGUMENTS, const int8_t *w) {
    depthwise(ARGUMENTS, INTEGERS, 1);
}

void mcu_depthwise_grad1_float(MCU_DEPTHWISE_GRAD_ARGUMENTS, const float *w) {
    depthwise(ARGUMENTS, FLOATS, 1);
}
