/* The two fixed-point products over arrays, in the form that the macros ask for. */
#include "mcu_math.h"

void products(const int32_t *x, const int32_t *multiplier, const int32_t *shift, int32_t *tflite, int32_t *upward,
              uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        tflite[i] = mcu_multiply_tflite(x[i], multiplier[i], shift[i]);
        upward[i] = mcu_multiply_upward(x[i], multiplier[i], shift[i]);
    }
}
