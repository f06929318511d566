/* Gradient of a pointwise convolution with respect to its input, float32: the weights of 4 filters and 4 channels, a
 * tile, become floats in registers, then all pixels meet them. */
#include "mcu_core.h"

#define TILE 4

enum form { INTEGERS, SPLIT_INTEGERS, FLOATS, SPLIT_FLOATS };

/* Four channels of pairs of pixels, or of one that is its own neighbour, and the weights of the next filter, a channel
 * each: the order that the assembly knows. */
struct work {
    float *out[2];
    const float *g[2];
    int32_t pairs;
    struct channel {
        const int8_t *w; /* or floats */
        int32_t step;    /* bytes to the next filter */
    } channels[TILE];
};

INLINE float weight(const int8_t *w, enum form form) {
    float value;
    if (form < FLOATS) {
        return (float)*w;
    }
    __builtin_memcpy(&value, w, sizeof value);
    return value;
}

#if MCU_VFMA
FIELD_AT(struct work, g, 8);
FIELD_AT(struct work, pairs, 16);
FIELD_AT(struct work, channels, 20);
#define TWO(at, a, b)                                                                                                  \
    "ldrsb r9, [r10, #" at "]\n\t"                                                                                     \
    "ldrsb r12, [r10, #" at "+1]\n\t"                                                                                  \
    "vmov " a ", " b ", r9, r12\n\t"                                                                                   \
    "vcvt.f32.s32 " a ", " a "\n\t"                                                                                    \
    "vcvt.f32.s32 " b ", " b "\n\t"
#define NEXT "add r10, lr\n\t"
#define SIDE_BY_SIDE(rows) "ldrd r10, lr, [%[work], #20]\n\t" rows "str r10, [%[work], #20]\n\t"
#define INTEGER_ROWS                                                                                                   \
    SIDE_BY_SIDE(TWO("0", "s16", "s17") TWO("2", "s18", "s19") NEXT TWO("0", "s20", "s21") TWO("2", "s22", "s23")      \
                     NEXT TWO("0", "s24", "s25") TWO("2", "s26", "s27") NEXT TWO("0", "s28", "s29")                    \
                         TWO("2", "s30", "s31") NEXT)
#define FLOAT_ROW(a, b) "vldmia r10, {" a "-" b "}\n\t" NEXT
#define FLOAT_ROWS                                                                                                     \
    SIDE_BY_SIDE(FLOAT_ROW("s16", "s19") FLOAT_ROW("s20", "s23") FLOAT_ROW("s24", "s27") FLOAT_ROW("s28", "s31"))

#define COLUMN(at, load, a, b, c, d)                                                                                   \
    "ldrd r10, lr, [%[work], #" at "]\n\t" load(a) load(b) load(c) load(d) "str r10, [%[work], #" at "]\n\t"
#define COLUMNS(load)                                                                                                  \
    COLUMN("20", load, "s16", "s20", "s24", "s28")                                                                     \
    COLUMN("28", load, "s17", "s21", "s25", "s29")                                                                     \
    COLUMN("36", load, "s18", "s22", "s26", "s30")                                                                     \
    COLUMN("44", load, "s19", "s23", "s27", "s31")
#define INTEGER(a) "ldrsb r9, [r10]\n\tvmov " a ", r9\n\tvcvt.f32.s32 " a ", " a "\n\t" NEXT
#define FLOAT(a) "vldr " a ", [r10]\n\t" NEXT

#define MET_BY(w0, w1, w2, w3, u, v)                                                                                   \
    "vfma.f32 s0, " w0 ", " u "\n\t"                                                                                   \
    "vfma.f32 s1, " w1 ", " u "\n\t"                                                                                   \
    "vfma.f32 s2, " w2 ", " u "\n\t"                                                                                   \
    "vfma.f32 s3, " w3 ", " u "\n\t"                                                                                   \
    "vfma.f32 s4, " w0 ", " v "\n\t"                                                                                   \
    "vfma.f32 s5, " w1 ", " v "\n\t"                                                                                   \
    "vfma.f32 s6, " w2 ", " v "\n\t"                                                                                   \
    "vfma.f32 s7, " w3 ", " v "\n\t"
/* clang-format off */
#define ADD_TILES(widen)                                                                                               \
    __asm__ volatile("1:\n\t" widen                                                                                    \
                     "ldm %[work], {r3-r6, r8}\n"                                                                      \
                     "2:\n\t"                                                                                          \
                     "vldmia r5, {s8-s11}\n\t"                                                                         \
                     "vldmia r6, {s12-s15}\n\t"                                                                        \
                     "vldmia r3, {s0-s3}\n\t"                                                                          \
                     "vldmia r4, {s4-s7}\n\t"                                                                          \
                     "subs r8, #1\n\t" MET_BY("s16", "s17", "s18", "s19", "s8", "s12")                                 \
                         MET_BY("s20", "s21", "s22", "s23", "s9", "s13")                                               \
                             MET_BY("s24", "s25", "s26", "s27", "s10", "s14")                                          \
                                 MET_BY("s28", "s29", "s30", "s31", "s11", "s15")                                      \
                     "add r5, %[g_step]\n\t"                                                                           \
                     "add r6, %[g_step]\n\t"                                                                           \
                     "vstmia r3, {s0-s3}\n\t"                                                                          \
                     "vstmia r4, {s4-s7}\n\t"                                                                          \
                     "add r3, %[out_step]\n\t"                                                                         \
                     "add r4, %[out_step]\n\t"                                                                         \
                     "bgt 2b\n\t"                                                                                      \
                     "ldrd r5, r6, [%[work], #8]\n\t"                                                                  \
                     "adds r5, #16\n\t"                                                                                \
                     "adds r6, #16\n\t"                                                                                \
                     "strd r5, r6, [%[work], #8]\n\t"                                                                  \
                     "subs %[tiles], #1\n\t"                                                                           \
                     "bgt 1b"                                                                                          \
                     : [tiles] "+r"(tiles)                                                                             \
                     : [work] "r"(work), [g_step] "r"(8 * g_step), [out_step] "r"(8 * out_step)                        \
                     : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r12", "lr", S0_TO_S15, S16_TO_S23, S24_TO_S31,      \
                       "cc", "memory")
/* clang-format on */

/* Adds the products of 4 * tiles filters; tiles and pairs > 0. */
INLINE void add_tiles(struct work *work, int32_t out_step, int32_t g_step, int32_t tiles, enum form form) {
    switch (form) {
    case INTEGERS:
        ADD_TILES(INTEGER_ROWS);
        break;
    case FLOATS:
        ADD_TILES(FLOAT_ROWS);
        break;
    case SPLIT_INTEGERS:
        ADD_TILES(COLUMNS(INTEGER));
        break;
    case SPLIT_FLOATS:
        ADD_TILES(COLUMNS(FLOAT));
        break;
    }
}
#else
INLINE void add_tiles(struct work *work, int32_t out_step, int32_t g_step, int32_t tiles, enum form form) {
    for (; tiles > 0; tiles--) {
        float w[TILE][TILE], *out = work->out[0];
        const float *g = work->g[0];
        UNROLL for (int32_t j = 0; j < TILE; j++) {
            const int8_t *from = work->channels[j].w;
            UNROLL for (int32_t k = 0; k < TILE; k++) {
                w[k][j] = weight(from, form);
                from += work->channels[j].step;
            }
            work->channels[j].w = from;
        }
        const int32_t pixels = work->out[0] == work->out[1] ? 1 : 2 * work->pairs;
        for (int32_t p = 0; p < pixels; p++) {
            float acc[TILE], gradient[TILE];
            UNROLL for (int32_t j = 0; j < TILE; j++) {
                acc[j] = out[j];
                gradient[j] = g[j];
            }
            UNROLL for (int32_t k = 0; k < TILE; k++) {
                UNROLL for (int32_t j = 0; j < TILE; j++) {
                    acc[j] = mcu_fma(gradient[k], w[k][j], acc[j]);
                }
            }
            UNROLL for (int32_t j = 0; j < TILE; j++) {
                out[j] = acc[j];
            }
            out += out_step;
            g += g_step;
        }
        work->g[0] += TILE;
    }
}
#endif

/* Where the weights of channel c begin. */
INLINE struct channel channel_at(int32_t c, const void *w0, int32_t step0, const void *w1, int32_t step1,
                                 const int16_t *places, enum form form) {
    const int32_t place = places != 0 ? places[c] : c, size = form < FLOATS ? 1 : 4;
    if (place >= 0) {
        return (struct channel){(const int8_t *)w0 + size * place, size * step0};
    }
    return (struct channel){(const int8_t *)w1 + size * ~place, size * step1};
}

INLINE void whole_tiles(MCU_POINTWISE_GRAD_ARGUMENTS, const void *w0, int32_t step0, const void *w1, int32_t step1,
                        const int16_t *places, enum form form) {
    for (int32_t c = 0; c < channels; c += TILE) {
        for (int32_t odd = pixels > 1 ? 0 : 1; odd <= (pixels & 1); odd++) { /* the pairs, then an odd last pixel */
            struct work work;
            work.out[0] = out + c + (odd != 0 ? (pixels - 1) * out_step : 0);
            work.out[1] = work.out[0] + (odd != 0 ? 0 : out_step);
            work.g[0] = g + (odd != 0 ? (pixels - 1) * g_step : 0);
            work.g[1] = work.g[0] + (odd != 0 ? 0 : g_step);
            work.pairs = odd != 0 ? 1 : pixels >> 1;
            for (int32_t j = 0; j < TILE; j++) {
                work.channels[j] = channel_at(c + j, w0, step0, w1, step1, places, form);
            }
            add_tiles(&work, out_step, g_step, filters / TILE, form);
        }
    }
}

INLINE void any(MCU_POINTWISE_GRAD_ARGUMENTS, const void *w0, int32_t step0, const void *w1, int32_t step1,
                const int16_t *places, enum form form) {
    for (int32_t c = 0; c < channels; c++) {
        const struct channel channel = channel_at(c, w0, step0, w1, step1, places, form);
        for (int32_t p = 0; p < pixels; p++) {
            const int8_t *w = channel.w;
            float acc = out[p * out_step + c];
            for (int32_t k = 0; k < filters; k++) {
                acc = mcu_fma(g[p * g_step + k], weight(w, form), acc);
                w += channel.step;
            }
            out[p * out_step + c] = acc;
        }
    }
}

/* 4: of whole tiles; 1: of any numbers. */
#define POINTWISE(number, body)                                                                                        \
    void mcu_pointwise_grad##number(MCU_POINTWISE_GRAD_ARGUMENTS, const int8_t *w, int32_t step) {                     \
        body(out, out_step, channels, g, g_step, filters, pixels, w, step, 0, 0, 0, INTEGERS);                         \
    }                                                                                                                  \
    void mcu_pointwise_grad##number##_float(MCU_POINTWISE_GRAD_ARGUMENTS, const float *w, int32_t step) {              \
        body(out, out_step, channels, g, g_step, filters, pixels, w, step, 0, 0, 0, FLOATS);                           \
    }                                                                                                                  \
    void mcu_pointwise_grad##number##_split(MCU_POINTWISE_GRAD_ARGUMENTS, MCU_SPLIT_ARGUMENTS(int8_t)) {               \
        body(out, out_step, channels, g, g_step, filters, pixels, w0, step0, w1, step1, places, SPLIT_INTEGERS);       \
    }                                                                                                                  \
    void mcu_pointwise_grad##number##_split_float(MCU_POINTWISE_GRAD_ARGUMENTS, MCU_SPLIT_ARGUMENTS(float)) {          \
        body(out, out_step, channels, g, g_step, filters, pixels, w0, step0, w1, step1, places, SPLIT_FLOATS);         \
    }
POINTWISE(4, whole_tiles)
POINTWISE(1, any)
