/* The stack is painted at reset; where the paint is gone, it was used. */
#include "mcu_device.h"

#define PAINT 0xC5C5C5C5u

/* In assembly, because it may not use the stack that it paints, from the bottom up to the stack pointer. */
__attribute__((naked)) void mcu_stack_paint(void) {
    __asm__ volatile(".syntax unified\n\t"
                     "ldr r0, =mcu_stack_bottom\n\t"
                     "ldr r1, =%c0\n\t"
                     "mov r2, sp\n\t"
                     "b 2f\n"
                     "1:\n\t"
                     "str r1, [r0]\n\t"
                     "adds r0, #4\n"
                     "2:\n\t"
                     "cmp r0, r2\n\t"
                     "blo 1b\n\t"
                     "bx lr\n\t"
                     ".ltorg" ::"i"(PAINT));
}

uint32_t mcu_stack_peak(void) {
    const volatile uint32_t *unused = mcu_stack_bottom;
    while (unused < mcu_stack_top && *unused == PAINT) {
        unused++;
    }
    return (uint32_t)((uintptr_t)mcu_stack_top - (uintptr_t)unused);
}
