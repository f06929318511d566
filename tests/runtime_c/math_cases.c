/* Every function of mcu_math.h on one record of operands; the same file runs on the host and on the device. */
#include "math_cases.h"
#include "mcu_math.h"

void math_cases(const struct math_in *in, struct math_out *out, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        const float a = mcu_f32(in[i].a);
        out[i].round_even = mcu_round_even(a);
        out[i].fma = mcu_bits(mcu_fma(a, mcu_f32(in[i].b), mcu_f32(in[i].c)));
        out[i].exp = mcu_bits(mcu_expf(a));
        out[i].log = mcu_bits(mcu_logf(a));
        out[i].hash = mcu_hash(in[i].a, in[i].b, in[i].random);
        out[i].stochastic = mcu_stochastic_round(a, in[i].random);
        out[i].update_i8 = mcu_update_i8((int8_t)(in[i].b & 0xFFu), a, in[i].random);
        out[i].update_i32 = mcu_update_i32((int32_t)in[i].b, a, in[i].random);
        const int32_t shift = (int32_t)(in[i].random % 40u) - 31; /* -31 .. 8 */
        const int32_t x = (int32_t)in[i].b >> (shift > 0 ? shift : 0);
        const int32_t multiplier = (int32_t)(in[i].c >> 2 | 0x40000000u); /* a significand in [1/2, 1) */
        out[i].multiply_tflite = mcu_multiply_tflite(x, multiplier, shift);
        out[i].multiply_upward = mcu_multiply_upward(x, multiplier, shift);
    }
}
