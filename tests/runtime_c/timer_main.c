/* Reads the timer around a loop of LOOPS rounds of two instructions, and prints what it counted. */
#include "mcu_device.h"
#include "semihost.h"

int main(void) {
    uint32_t rounds = LOOPS;
    mcu_timer_init();
    const uint32_t started = mcu_timer_ticks();
    __asm__ volatile(".syntax unified\n1:\n\tsubs %0, %0, #1\n\tbne 1b" : "+l"(rounds) : : "cc", "memory");
    const uint32_t ticks = mcu_timer_ticks() - started;
    semihost_print_number(ticks * MCU_INSTRUCTIONS_PER_TICK);
    semihost_print("\n");
    return 0;
}
