/* Loops over subnormal floats that a compiler may turn into vectors; prints the sums of their bits. */
#include "mcu_math.h"
#include "semihost.h"

enum { N = 64 };

static float x[N], y[N];

static void print_bits(void) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < N; i++) {
        sum += mcu_bits(y[i]);
    }
    semihost_print_number(sum);
    semihost_print("\n");
}

int main(void) {
    for (uint32_t i = 0; i < N; i++) {
        x[i] = mcu_f32(i + 5u);
        y[i] = 1.0f;
    }
    __asm__ volatile("" ::: "memory");
    for (uint32_t i = 0; i < N; i++) {
        y[i] = y[i] * x[i] + x[i];
    }
    print_bits();
    return 0;
}
