/* Operands and answers of math_cases, as bit patterns. */
#ifndef MATH_CASES_H
#define MATH_CASES_H

#include <stdint.h>

struct math_in {
    uint32_t a, b, c, random;
};

struct math_out {
    int32_t round_even;
    uint32_t fma, exp, log, hash;
    int32_t stochastic, update_i8, update_i32, multiply_tflite, multiply_upward;
};

void math_cases(const struct math_in *in, struct math_out *out, uint32_t n);

#endif
