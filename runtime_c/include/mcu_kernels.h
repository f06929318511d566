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

#ifdef __cplusplus
}
#endif

#endif
