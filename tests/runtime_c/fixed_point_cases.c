/* The two fixed-point products over arrays, in the form that the macros ask for. */
#include "mcu_core.h"

void products(const int32_t *x, const int32_t *multiplier, const int32_t *shift, int32_t *tflite, int32_t *upward,
              uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        tflite[i] = mcu_multiply_tflite(x[i], multiplier[i], shift[i]);
        upward[i] = mcu_multiply_upward(x[i], multiplier[i], shift[i]);
    }
}

/* The same, where the micro-kernels take a multiplier and shift apart beforehand. */
void taken_apart(const int32_t *x, const int32_t *multiplier, const int32_t *shift, int32_t *tflite, int32_t *upward,
                 uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const int32_t table[2] = {multiplier[i], shift[i]};
        const struct factor one = factor_of(table, 0, 1, TFLITE), other = factor_of(table, 0, 1, UPWARD);
        tflite[i] = one.right != 0 ? multiplied(x[i], &one, TFLITE) : requantised(x[i], table, 0, 1, 0, TFLITE);
        upward[i] = other.right != 0 ? multiplied(x[i], &other, UPWARD) : requantised(x[i], table, 0, 1, 0, UPWARD);
    }
}
