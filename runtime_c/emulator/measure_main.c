/* Runs kernels on the emulated core, each once over all rows, and prints the instructions of each call.
 *
 * measured.h is written for a run (mcutrain/firmware/measure_variants.py): the kernels, MEASURED_BYTES for their arrays,
 * and MEASURED_CALLS(RUN), which is RUN(floats, call) for each kernel. `call` calls it on arrays in `memory`; `floats` are
 * statements fill_floats(array, length); for those of its arrays that hold float32. */
#include "mcu_device.h"
#include "mcu_kernels.h"
#include "mcu_math.h"
#include "measured.h"
#include "semihost.h"

static _Alignas(16) uint8_t memory[MEASURED_BYTES];

static void fill(void) {
    for (uint32_t i = 0; i < sizeof memory; i++) {
        memory[i] = (uint8_t)(i * 37u >> 3);
    }
}

static inline void fill_floats(float *to, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        to[i] = 0.01f;
    }
}

static void say(uint32_t started) {
    const uint32_t ticks = mcu_timer_ticks() - started;
    semihost_print("instructions ");
    semihost_print_number(ticks * MCU_INSTRUCTIONS_PER_TICK);
    semihost_print("\n");
}

#define RUN(floats, call)                                                                                              \
    fill();                                                                                                            \
    floats;                                                                                                            \
    started = mcu_timer_ticks();                                                                                       \
    call;                                                                                                              \
    say(started);

int main(void) {
    uint32_t started;
    mcu_timer_init();
    MEASURED_CALLS(RUN)
    return 0;
}
