/* Micro-kernels that the emitted kernels are built on: the inner loops, written for each kind of core and shared by all
 * layers. They give the same bits on every core and on the host twin.
 *
 * Integer sums may be taken in any order; float32 sums are in the order that each function states. No state, no memory
 * but the arguments. */
#ifndef MCU_KERNELS_H
#define MCU_KERNELS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Forward convolution over channels (mcu_conv.c) ---------------------------------------------------------------
 * The inputs of a block of output pixels are widened once to int16 columns, x - zero, in an order that suits the core;
 * then every filter meets them. A block is 4 pixels or 1. The columns of n inputs take 2 * 4 * ceil(n / 4) bytes a
 * pixel. */

/* Columns of 4 pixels (of 1 pixel) whose n inputs lie `stride` bytes apart. */
void mcu_columns4(int16_t *columns, const void *x, int32_t stride, int32_t n, int32_t zero);
void mcu_columns1(int16_t *columns, const void *x, int32_t stride, int32_t n, int32_t zero);

/* The kh x kw windows of `pixels` neighbours, `step` columns apart, the first at (iy, ix) of x (in_h, in_w, channels),
 * each [ky][kx][channel], filled up to a multiple of 4 bytes; `zero` outside. x may be a ring of `ring` rows (0:
 * whole). */
#define MCU_WINDOW_ARGUMENTS                                                                                           \
    void *window, const int8_t *x, int32_t in_h, int32_t in_w, int32_t channels, int32_t ring, int32_t kh, int32_t kw, \
        int32_t iy, int32_t ix, int32_t step, int32_t pixels, int32_t zero
void mcu_windows(MCU_WINDOW_ARGUMENTS);
/* ... of the n channels of `list` alone. */
void mcu_windows_listed(MCU_WINDOW_ARGUMENTS, const int16_t *list, int32_t n);

/* y[p][o] = clamp(requantised(bias[o] + sum over k of columns[p][k] * w[o][k]) + zero, lo, hi) of a block's pixels p and
 * all filters o. The weights of filter o are n0 of w0 and n1 of w1 (n1 may be 0), their columns one behind the other.
 * table: a float scale a filter (even: halves to even), or multipliers [filters] and shifts [filters].
 * _mask: sets bit `bit` + p * filters + o of `mask` where the clamp changed nothing, and clears it elsewhere; where
 * filters is no multiple of 8 it only sets, and the caller has cleared. */
#define MCU_CONV_ARGUMENTS(table_type)                                                                                 \
    const int16_t *columns, const int8_t *w0, int32_t n0, const int8_t *w1, int32_t n1, const int32_t *bias,           \
        const table_type *table, int8_t *y, int32_t filters, int32_t zero, int32_t lo, int32_t hi
#define MCU_CONV_PROTOTYPES(block, rounding, table_type)                                                               \
    void mcu_conv##block##_##rounding(MCU_CONV_ARGUMENTS(table_type));                                                 \
    void mcu_conv##block##_##rounding##_mask(MCU_CONV_ARGUMENTS(table_type), uint8_t *mask, int32_t bit);
MCU_CONV_PROTOTYPES(4, even, float)
MCU_CONV_PROTOTYPES(4, tflite, int32_t)
MCU_CONV_PROTOTYPES(4, upward, int32_t)
MCU_CONV_PROTOTYPES(1, even, float)
MCU_CONV_PROTOTYPES(1, tflite, int32_t)
MCU_CONV_PROTOTYPES(1, upward, int32_t)

/* mcu_conv4_even of the range -128 .. 127, of at least 4 inputs a weight argument; `mask` is the byte where the block's
 * bits begin, for a multiple of 8 filters. split: there are two weight arguments. */
#define MCU_CONV_FULL_ARGUMENTS                                                                                        \
    const int16_t *columns, const int8_t *w0, int32_t n0, const int8_t *w1, int32_t n1, const int32_t *bias,           \
        const float *table, int8_t *y, int32_t filters, int32_t zero
void mcu_conv4_full(MCU_CONV_FULL_ARGUMENTS);
void mcu_conv4_full_split(MCU_CONV_FULL_ARGUMENTS);
void mcu_conv4_full_mask(MCU_CONV_FULL_ARGUMENTS, uint8_t *mask);
void mcu_conv4_full_split_mask(MCU_CONV_FULL_ARGUMENTS, uint8_t *mask);

/* mcu_conv4_full with weights that were widened and laid out beforehand, which costs twice the flash: each filter's are
 * filled up to a multiple of 4, in the order 0, 2, 1, 3 of every four; the array is aligned to 4 bytes. */
#define MCU_CONV_WIDE_ARGUMENTS                                                                                        \
    const int16_t *columns, const int16_t *w, int32_t n, const int32_t *bias, const float *table, int8_t *y,           \
        int32_t filters, int32_t zero
void mcu_conv4_wide(MCU_CONV_WIDE_ARGUMENTS);

/* --- Gradients of inputs, float32 (mcu_backward.c, mcu_backward_depthwise.c) --------------------------------------
 * Weights become floats once, in scratch memory, [n][channels], of neighbouring channels of the result; then all pixels
 * meet them. */

/* to[k][j] = w[k * step + j * channel_step]; 8: of 8 channels side by side. */
void mcu_grad_weights8(float *to, const int8_t *w, int32_t step, int32_t n);
void mcu_grad_weights(float *to, const int8_t *w, int32_t step, int32_t channel_step, int32_t n, int32_t channels);
void mcu_grad_weights_float(float *to, const float *w, int32_t step, int32_t channel_step, int32_t n, int32_t channels);
/* ... of two weight arguments: channel j is column places[j] of w0, or where that is negative, column -1 - places[j] of
 * w1. */
void mcu_grad_weights_split(float *to, const int8_t *w0, int32_t step0, const int8_t *w1, int32_t step1,
                            const int16_t *places, int32_t n, int32_t channels);
void mcu_grad_weights_split_float(float *to, const float *w0, int32_t step0, const float *w1, int32_t step1,
                                  const int16_t *places, int32_t n, int32_t channels);

/* out[p][j] = (begins ? 0 : out[p][j]) + sum over k of g[p][k] * w[k][j], k ascending. Steps are floats between pixels.
 * Pixels are taken in twos: both are read before either is written. */
#define MCU_POINTWISE_GRAD_ARGUMENTS                                                                                   \
    float *out, int32_t out_step, const float *g, int32_t g_step, const float *w, int32_t n, int32_t pixels,           \
        int32_t begins
void mcu_pointwise_grad8(MCU_POINTWISE_GRAD_ARGUMENTS);
void mcu_pointwise_grad(MCU_POINTWISE_GRAD_ARGUMENTS, int32_t channels);

/* One row of the gradient of a depthwise convolution:
 *     out[ix][j] = sum over (oy, ox) of g[oy][ox][j] * w[row - oy * sy][ix + left - ox * sx][j], oy and ox ascending,
 * over the positions of g (out_h, out_w) whose window of kh x kw taps saw that pixel; row: its own row + padding.
 * g may be a ring of `ring` rows (0: whole). */
#define MCU_DEPTHWISE_GRAD_ARGUMENTS                                                                                   \
    float *out, int32_t out_step, int32_t in_w, const float *g, int32_t g_step, int32_t out_h, int32_t out_w,          \
        int32_t ring, const float *w, int32_t kh, int32_t kw, int32_t sy, int32_t sx, int32_t row, int32_t left
void mcu_depthwise_grad8(MCU_DEPTHWISE_GRAD_ARGUMENTS);
void mcu_depthwise_grad(MCU_DEPTHWISE_GRAD_ARGUMENTS, int32_t channels);

/* --- Residual sum (mcu_add.c) ---------------------------------------------------------------------------------------
 * y[i] = clamp(round_even(((a[i] - a_zero) * a_scale + (b[i] - b_zero) * b_scale) / y_scale) + zero, lo, hi) of n values,
 * halves to even. _mask: and a bit each, from the first bit of `mask` on, where the clamp changed nothing. y may be a or
 * b, or lie before them. */
#define MCU_ADD_ARGUMENTS                                                                                              \
    const int8_t *a, const int8_t *b, int8_t *y, int32_t n, int32_t a_zero, int32_t b_zero, float a_scale,             \
        float b_scale, float y_scale, int32_t zero, int32_t lo, int32_t hi
void mcu_add_even(MCU_ADD_ARGUMENTS);
void mcu_add_even_mask(MCU_ADD_ARGUMENTS, uint8_t *mask);

#ifdef __cplusplus
}
#endif

#endif
