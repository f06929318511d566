/* Forward depthwise convolution of one output row: the form for every window and core, and the functions that are
 * called. One channel at a time is widened, then slid over by the taps. */
#include "mcu_depthwise.h"
#if MCU_MVE
#include "mcu_depthwise_mve.h"
#endif
#if MCU_DSP
#include "mcu_depthwise_3.h"
#include "mcu_depthwise_3_full.h"
#include "mcu_depthwise_pairs.h"
#include "mcu_depthwise_pairs_full.h"
#endif

/* Rows of channel c that lie inside the image, minus the zero point, `columns` apart; the borders stay as they are. */
INLINE void widen_channel(const struct row *r, int32_t c, int32_t columns) {
    const int32_t last = columns - r->left < r->in_w ? columns - r->left : r->in_w;
    for (int32_t ky = first_tap(r), end = end_tap(r); ky < end; ky++) {
        const int8_t *from = input_row(r, r->iy + ky) + c;
        int16_t *to = r->rows + ky * columns + r->left;
        for (int32_t ix = 0; ix < last; ix++) {
            to[ix] = (int16_t)(*from - r->in_zero);
            from += r->channels;
        }
    }
}

/* `pixels` neighbours from `pixel` on of channel c. */
INLINE void neighbours(const struct row *r, const struct channel *channel, int32_t c, int32_t pixel, int32_t pixels,
                       int32_t columns) {
    int32_t acc[4];
    const int8_t *w = r->w + c * r->kh * r->kw;
    UNROLL for (int32_t p = 0; p < pixels; p++) {
        acc[p] = r->bias[c];
    }
    for (int32_t ky = first_tap(r), end = end_tap(r); ky < end; ky++) {
        const int16_t *from = r->rows + ky * columns + pixel * r->step;
        UNROLL for (int32_t kx = 0; kx < r->kw; kx++) {
            const int32_t weight = w[ky * r->kw + kx];
            UNROLL for (int32_t p = 0; p < pixels; p++) {
                acc[p] += weight * from[p * r->step + kx];
            }
        }
    }
    UNROLL for (int32_t p = 0; p < pixels; p++) {
        const int32_t element = (pixel + p) * r->channels + c;
        const uint32_t inside = store_output(r, channel, acc[p], r->y + element);
        if (r->has_mask) {
            r->mask[element >> 3] |= (uint8_t)(inside << (element & 7));
        }
    }
}

INLINE void depthwise_plain(const struct row *r) {
#if MCU_MVE
    if (r->rounding == EVEN && r->channels > 1) { /* of one channel, the row is read before anything of it is written */
        depthwise_mve(r);
        return;
    }
#endif
    const int32_t columns = (r->out_w - 1) * r->step + r->kw;
    for (int32_t i = 0; i < r->kh * columns; i++) {
        r->rows[i] = 0;
    }
    for (int32_t i = 0; r->has_mask && i < (r->out_w * r->channels + 7) >> 3; i++) {
        r->mask[i] = 0;
    }
    for (int32_t c = 0; c < r->channels; c++) {
        const struct channel channel = channel_of(r, c);
        int32_t pixel = 0;
        widen_channel(r, c, columns);
        for (; pixel + 4 <= r->out_w; pixel += 4) {
            neighbours(r, &channel, c, pixel, 4, columns);
        }
        for (; pixel < r->out_w; pixel++) {
            neighbours(r, &channel, c, pixel, 1, columns);
        }
    }
}

#if !defined(__arm__)
/* A twin is built often: the compiler gets one copy, and not one a function. */
__attribute__((noinline)) static void depthwise_shared(const struct row *r) {
    depthwise_plain(r);
}
#define FORM_ANY depthwise_shared
#else
#define FORM_ANY depthwise_plain
#endif
#if MCU_DSP
#define FORM_3 depthwise3
#define FORM_PAIRS depthwise_pairs
#define FORM_3_FULL depthwise3_full
#define FORM_PAIRS_FULL depthwise_pairs_full
#else
#define FORM_3 FORM_ANY
#define FORM_PAIRS FORM_ANY
#define FORM_3_FULL FORM_ANY
#define FORM_PAIRS_FULL FORM_ANY
#endif

#define ROW(...)                                                                                                       \
    (&(const struct row){.x = x,                                                                                       \
                         .w = w,                                                                                       \
                         .bias = bias,                                                                                 \
                         .table = table,                                                                               \
                         .y = y,                                                                                       \
                         .rows = rows,                                                                                 \
                         .in_h = in_h,                                                                                 \
                         .in_w = in_w,                                                                                 \
                         .channels = channels,                                                                         \
                         .ring = ring,                                                                                 \
                         .iy = iy,                                                                                     \
                         .out_w = out_w,                                                                               \
                         .in_zero = in_zero,                                                                           \
                         .out_zero = out_zero,                                                                         \
                         __VA_ARGS__})
#define DEPTHWISE(name, arguments, form, ...)                                                                          \
    void mcu_depthwise##name(arguments) {                                                                              \
        form(ROW(__VA_ARGS__));                                                                                        \
    }                                                                                                                  \
    void mcu_depthwise##name##_mask(arguments, uint8_t *mask) {                                                        \
        form(ROW(__VA_ARGS__, .has_mask = 1, .mask = mask));                                                           \
    }
#define CLAMP .left = left, .lo = lo, .hi = hi
#define ROUNDINGS(name, arguments, form, ...)                                                                          \
    DEPTHWISE(name##_even, arguments(float), form, CLAMP, .rounding = EVEN, __VA_ARGS__)                               \
    DEPTHWISE(name##_tflite, arguments(int32_t), form, CLAMP, .rounding = TFLITE, __VA_ARGS__)                         \
    DEPTHWISE(name##_upward, arguments(int32_t), form, CLAMP, .rounding = UPWARD, __VA_ARGS__)
#define WINDOW(k, s) .kh = k, .kw = k, .step = s
#define FORMS(k, s, full, form)                                                                                        \
    DEPTHWISE(k##_s##s##_full, MCU_DEPTHWISE_FULL(float), full, .left = k / 2, .lo = -128, .hi = 127, WINDOW(k, s))    \
    ROUNDINGS(k##_s##s, MCU_DEPTHWISE_CLAMPED, form, WINDOW(k, s))
ROUNDINGS(, MCU_DEPTHWISE_ANY, FORM_ANY, .kh = kh, .kw = kw, .step = stride)
FORMS(3, 1, FORM_3_FULL, FORM_3)
FORMS(3, 2, FORM_3_FULL, FORM_3)
FORMS(5, 1, FORM_PAIRS_FULL, FORM_PAIRS)
FORMS(5, 2, FORM_PAIRS_FULL, FORM_PAIRS)
FORMS(7, 1, FORM_PAIRS_FULL, FORM_PAIRS)
FORMS(7, 2, FORM_PAIRS_FULL, FORM_PAIRS)
