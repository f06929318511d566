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

/* --- Residual sum (mcu_add.c) ---------------------------------------------------------------------------------------
 * y[i] = clamp(round_even(((a[i] - a_zero) * a_scale + (b[i] - b_zero) * b_scale) / y_scale) + zero, lo, hi) of n values,
 * halves to even. _mask: and a bit each, from the first bit of `mask` on, where the clamp changed nothing. y may be a or
 * b, or lie before them. */
#define MCU_ADD_ARGUMENTS                                                                                              \
    const int8_t *a, const int8_t *b, int8_t *y, int32_t n, int32_t a_zero, int32_t b_zero, float a_scale,             \
        float b_scale, float y_scale, int32_t zero, int32_t lo, int32_t hi
void mcu_add_even(MCU_ADD_ARGUMENTS);
void mcu_add_even_mask(MCU_ADD_ARGUMENTS, uint8_t *mask);

/* --- Gradients of inputs, float32 (mcu_backward.c, mcu_backward_depthwise.c) --------------------------------------
 * out += the gradient: begin with zeros. Steps are in elements: of out and g from pixel to pixel, of w from filter to
 * filter. */

/* out[p][c] += sum over o of g[p][o] * w[o][c], o ascending. 4: of multiples of 4 channels and filters; 1: of any.
 * split: of two weight arguments, channel c is column places[c] of w0, or where that is negative -1 - places[c] of
 * w1. */
#define MCU_POINTWISE_GRAD_ARGUMENTS                                                                                   \
    float *out, int32_t out_step, int32_t channels, const float *g, int32_t g_step, int32_t filters, int32_t pixels
#define MCU_SPLIT_ARGUMENTS(type) const type *w0, int32_t step0, const type *w1, int32_t step1, const int16_t *places
#define MCU_POINTWISE_GRAD_PROTOTYPES(number)                                                                          \
    void mcu_pointwise_grad##number(MCU_POINTWISE_GRAD_ARGUMENTS, const int8_t *w, int32_t step);                      \
    void mcu_pointwise_grad##number##_float(MCU_POINTWISE_GRAD_ARGUMENTS, const float *w, int32_t step);               \
    void mcu_pointwise_grad##number##_split(MCU_POINTWISE_GRAD_ARGUMENTS, MCU_SPLIT_ARGUMENTS(int8_t));                \
    void mcu_pointwise_grad##number##_split_float(MCU_POINTWISE_GRAD_ARGUMENTS, MCU_SPLIT_ARGUMENTS(float));
MCU_POINTWISE_GRAD_PROTOTYPES(4)
MCU_POINTWISE_GRAD_PROTOTYPES(1)

/* Rows y0 .. y1 - 1 of the gradient of a depthwise convolution, whose weights are [channels][kh][kw]:
 *     out[iy][ix][c] += g[oy][ox][c] * w[c][iy + top - oy * sy][ix + left - ox * sx], oy then ox ascending,
 * over all positions of g (out_h, out_w) whose window saw that pixel. Either may be a ring of rows (0: whole). Of 8
 * channels, or of 1. */
#define MCU_DEPTHWISE_GRAD_ARGUMENTS                                                                                   \
    float *out, int32_t out_step, int32_t in_w, int32_t ring_out, const float *g, int32_t g_step, int32_t out_h,       \
        int32_t out_w, int32_t ring_in, int32_t kh, int32_t kw, int32_t sy, int32_t sx, int32_t top, int32_t left,     \
        int32_t y0, int32_t y1
void mcu_depthwise_grad8(MCU_DEPTHWISE_GRAD_ARGUMENTS, const int8_t *w);
void mcu_depthwise_grad8_float(MCU_DEPTHWISE_GRAD_ARGUMENTS, const float *w);
void mcu_depthwise_grad1(MCU_DEPTHWISE_GRAD_ARGUMENTS, const int8_t *w);
void mcu_depthwise_grad1_float(MCU_DEPTHWISE_GRAD_ARGUMENTS, const float *w);

/* --- Gradients of parameters, float32 (mcu_backward_sums.c) --------------------------------------------------------
 * out += the sum over n positions in their order: begin with zeros. 8: of a multiple of 8 channels (filters). */

/* out[c] += sum of g[p][c] */
#define MCU_BIAS_GRAD_ARGUMENTS float *out, int32_t channels, const float *g, int32_t g_step, int32_t n
void mcu_bias_grad8(MCU_BIAS_GRAD_ARGUMENTS);
void mcu_bias_grad1(MCU_BIAS_GRAD_ARGUMENTS);

/* out[o][c] += sum of g[p][o] * (x[p][c] - zero) of one tap; steps are in elements. */
#define MCU_WEIGHT_GRAD_ARGUMENTS                                                                                      \
    float *out, int32_t out_step, int32_t channels, int32_t x_step, const float *g, int32_t g_step, int32_t filters,   \
        int32_t n
void mcu_weight_grad8(MCU_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero);
void mcu_weight_grad8_float(MCU_WEIGHT_GRAD_ARGUMENTS, const float *x);
void mcu_weight_grad1(MCU_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero);
void mcu_weight_grad1_float(MCU_WEIGHT_GRAD_ARGUMENTS, const float *x);

/* out[c * out_step] += sum of g[p][c] * (x[p][c] - zero) */
#define MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS                                                                            \
    float *out, int32_t out_step, int32_t channels, int32_t x_step, const float *g, int32_t g_step, int32_t n
void mcu_depthwise_weight_grad8(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero);
void mcu_depthwise_weight_grad8_float(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const float *x);
void mcu_depthwise_weight_grad1(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const int8_t *x, int32_t zero);
void mcu_depthwise_weight_grad1_float(MCU_DEPTHWISE_WEIGHT_GRAD_ARGUMENTS, const float *x);

/* --- Mask and scale of a gradient, float32 (mcu_backward_mask.c) ---------------------------------------------------
 * out = g * scale where the bit of the mask is 1, else 0. 8: n groups of 8 elements, each with a byte of the mask; a
 * group is read before it is written. Steps are in elements from group to group. */
#define MCU_MASK_SCALE_ARGUMENTS                                                                                       \
    float *out, int32_t out_step, const float *g, int32_t g_step, const uint8_t *mask, int32_t mask_step, int32_t n
void mcu_mask_scale8(MCU_MASK_SCALE_ARGUMENTS, const float *scale, int32_t scale_step);
void mcu_mask_scale8_by(MCU_MASK_SCALE_ARGUMENTS, float factor);
void mcu_mask_scale1(float *out, const float *g, const uint8_t *mask, int32_t bit, int32_t n, const float *scale);
void mcu_mask_scale1_by(float *out, const float *g, const uint8_t *mask, int32_t bit, int32_t n, float factor);

/* --- Updates of integer parameters (mcu_sgd.c) ---------------------------------------------------------------------
 * w[c][i] -= round(rate / s_w[c]^2 * g[c - first][i]) of `channels` channels from `first` on, of `row` elements each,
 * rounded by hash(seed, step, c * row + i); s_w = scale * unit. settings: the bits of unit and of the scale at or below
 * which a channel is dead and stays, and the tensor's salt; counter: seed and step. */
#define MCU_SGD_ARGUMENTS(type)                                                                                        \
    type *w, const float *g, const float *scale, const uint32_t *settings, const uint32_t *counter, float rate,        \
        int32_t first, int32_t channels, int32_t row
void mcu_sgd_i8(MCU_SGD_ARGUMENTS(int8_t));
void mcu_sgd_i32(MCU_SGD_ARGUMENTS(int32_t));

/* --- Forward depthwise convolution (mcu_depthwise.c) --------------------------------------------------------------
 * One output row y[out_w][channels] of x (in_h, in_w, channels), a ring of `ring` rows (0: whole), with weights
 * [channels][kh][kw]; iy: the input row under the first tap row, -left: the column under the first tap of the first
 * pixel. Bias, table and roundings as above. rows: memory of the call, aligned to 4 bytes, of so many int16 elements:
 *     kh * ((out_w - 1) * stride + kw), or for 5 x 5 and 7 x 7 windows
 *     4 * kh * ceil4((9 - kw) / 2 + (ceil4(out_w) - 1) * stride + kw)        (ceil4: up to a multiple of 4).
 * _mask: sets or clears the bit of every element of the row in `mask`, of (out_w * channels + 7) / 8 bytes.
 * Of each channel its whole window is read before the channel is written, or (3 x 3) a column before the output left of
 * it.
 *
 * mcu_depthwise serves every window. The others have their window and horizontal stride in the name and ask for a
 * multiple of 8 channels with a mask; of 3 x 3, for more than one channel and left <= 2.
 * _full: _even of the range -128 .. 127, with left == kw / 2; of 3 x 3, with an even out_w and in_w == stride * out_w,
 * else of multiples of 4 channels, 4 outputs and 4 columns of x. */
#define MCU_DEPTHWISE_FULL(table_type)                                                                                 \
    const int8_t *x, const int8_t *w, const int32_t *bias, const table_type *table, int8_t *y, int16_t *rows,          \
        int32_t in_h, int32_t in_w, int32_t channels, int32_t ring, int32_t iy, int32_t out_w, int32_t in_zero,        \
        int32_t out_zero
#define MCU_DEPTHWISE_CLAMPED(table_type) MCU_DEPTHWISE_FULL(table_type), int32_t left, int32_t lo, int32_t hi
#define MCU_DEPTHWISE_ANY(table_type) MCU_DEPTHWISE_CLAMPED(table_type), int32_t kh, int32_t kw, int32_t stride
#define MCU_DEPTHWISE_PROTOTYPE(name, arguments)                                                                       \
    void mcu_depthwise##name(arguments);                                                                               \
    void mcu_depthwise##name##_mask(arguments, uint8_t *mask);
#define MCU_DEPTHWISE_ROUNDINGS(name, arguments)                                                                       \
    MCU_DEPTHWISE_PROTOTYPE(name##_even, arguments(float))                                                             \
    MCU_DEPTHWISE_PROTOTYPE(name##_tflite, arguments(int32_t))                                                         \
    MCU_DEPTHWISE_PROTOTYPE(name##_upward, arguments(int32_t))
#define MCU_DEPTHWISE_PROTOTYPES(name)                                                                                 \
    MCU_DEPTHWISE_PROTOTYPE(name##_full, MCU_DEPTHWISE_FULL(float))                                                    \
    MCU_DEPTHWISE_ROUNDINGS(name, MCU_DEPTHWISE_CLAMPED)
MCU_DEPTHWISE_ROUNDINGS(, MCU_DEPTHWISE_ANY)
MCU_DEPTHWISE_PROTOTYPES(3_s1)
MCU_DEPTHWISE_PROTOTYPES(3_s2)
MCU_DEPTHWISE_PROTOTYPES(5_s1)
MCU_DEPTHWISE_PROTOTYPES(5_s2)
MCU_DEPTHWISE_PROTOTYPES(7_s1)
MCU_DEPTHWISE_PROTOTYPES(7_s2)

#ifdef __cplusplus
}
#endif

#endif
