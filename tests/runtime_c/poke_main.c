/* Touches every word of the budget, then one byte at POKE_OFFSET from POKE_BASE; UNALIGNED, CALL_RAM,
 * UNDEFINED_INSTRUCTION, PUSH_FOREVER, LOOP_FOREVER and USE_STACK are the other ways to go wrong. */
#include "mcu_device.h"
#include "semihost.h"

int main(void) {
    for (volatile uint32_t *word = mcu_ram_start; word < mcu_ram_end; word++) {
        *word = *word;
    }
    semihost_print("swept\n");
#if defined(POKE_BASE)
    ((volatile uint8_t *)POKE_BASE)[POKE_OFFSET] = 1;
    (void)((volatile uint8_t *)POKE_BASE)[POKE_OFFSET];
#endif
#if defined(READ_BASE)
    (void)((volatile uint8_t *)READ_BASE)[POKE_OFFSET];
#endif
#if defined(UNALIGNED)
    __asm__ volatile("ldr r0, =mcu_ram_start + 6\n\tldr r0, [r0]\n\tb 1f\n\t.ltorg\n1:" ::: "r0", "memory");
#endif
#if defined(CALL_RAM)
    __asm__ volatile("ldr r0, =mcu_data_start + 1\n\tblx r0\n\t.ltorg" ::: "r0", "lr", "memory");
#endif
#if defined(UNDEFINED_INSTRUCTION)
    __asm__ volatile("udf #1");
#endif
#if defined(PUSH_FOREVER)
    __asm__ volatile("1: push {r0}\n\tb 1b");
#endif
#if defined(LOOP_FOREVER)
    for (;;) {
        __asm__ volatile("");
    }
#endif
#if defined(USE_STACK)
    volatile uint8_t block[USE_STACK];
    for (uint32_t i = 0; i < USE_STACK; i++) {
        block[i] = (uint8_t)i;
    }
    semihost_print("peak ");
    semihost_print_number(mcu_stack_peak());
    semihost_print("\n");
#endif
    return 0;
}
