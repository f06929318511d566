/* Vector table, reset and fault handlers of a Cortex-M under the emulator. */
#include "mcu_device.h"
#include "semihost.h"

#define SCB_CCR (*(volatile uint32_t *)0xE000ED14u)
#define SCB_SHCSR (*(volatile uint32_t *)0xE000ED24u)
#define SCB_CFSR (*(volatile uint32_t *)0xE000ED28u)
#define SCB_HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define SCB_MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define SCB_BFAR (*(volatile uint32_t *)0xE000ED38u)
#define SCB_CPACR (*(volatile uint32_t *)0xE000ED88u)

#define CCR_TRAP_UNALIGNED (1u << 3)
#define CCR_LOOP_CACHE (1u << 19) /* loops of the low-overhead branch extension run without it, but slower */
#define CFSR_MEMORY 0x000000FFu   /* any memory management fault */
#define CFSR_STACKING 0x00001010u /* an exception frame that could not be pushed */

int main(void);
void Reset_Handler(void);
void mcu_fault_entry(void);
_Noreturn void mcu_fault_report(uint32_t frame, uint32_t pc, uint32_t exception);

/* What the core has and reset leaves off. */
static inline void configure_core(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    SCB_CPACR |= 0xFu << 20; /* floating point, and Helium with it */
#endif
#if defined(__ARM_FEATURE_MVE)
    SCB_CCR |= CCR_LOOP_CACHE; /* where there is Helium, there are these loops */
#endif
#if !defined(__ARM_FEATURE_UNALIGNED)
    SCB_CCR |= CCR_TRAP_UNALIGNED; /* a core without them faults by itself, one that stands in for it does not */
#endif
    __asm__ volatile("dsb\n\tisb" ::: "memory");
}

void Reset_Handler(void) {
    configure_core();
    mcu_stack_paint();
    SCB_SHCSR |= 7u << 16; /* memory, bus and usage faults have handlers of their own */
    const uint32_t *load = mcu_data_load;
    for (uint32_t *word = mcu_data_start; word < mcu_data_end; word++) {
        *word = *load++;
    }
    for (uint32_t *word = mcu_bss_start; word < mcu_bss_end; word++) {
        *word = 0;
    }
    for (uint32_t *word = mcu_measure_start; word < mcu_measure_end; word++) {
        *word = 0;
    }
    if (!mcu_guard_install()) {
        semihost_print("ERROR the MPU has too few regions to guard this budget: make it a multiple of 1024 bytes\n");
        semihost_exit(MCU_EXIT_NO_GUARD);
    }
    semihost_exit((uint32_t)main());
}

/* The run is over: the handler starts again at the top of the stack, so that it works after a stack overflow, too.
 * The program counter is read from the exception frame first, where the frame lies inside the stack. */
__attribute__((naked)) void mcu_fault_entry(void) {
    __asm__ volatile("mrs r0, msp\n\t"
                     "mrs r2, ipsr\n\t"
                     "movs r1, #0\n\t"
                     "ldr r3, =mcu_stack_bottom\n\t"
                     "cmp r0, r3\n\t"
                     "blo 1f\n\t"
                     "ldr r1, [r0, #24]\n"
                     "1:\n\t"
                     "ldr r3, =mcu_stack_top\n\t"
                     "mov sp, r3\n\t"
                     "bl mcu_fault_report\n\t"
                     ".ltorg");
}

_Noreturn void mcu_fault_report(uint32_t frame, uint32_t pc, uint32_t exception) {
    const uint32_t status = SCB_CFSR;
    uint32_t code = MCU_EXIT_FAULT;
    const char *kind = "fault";
    if (frame < (uint32_t)(uintptr_t)mcu_stack_bottom || (status & CFSR_STACKING) != 0u) {
        code = MCU_EXIT_STACK;
        kind = "stack overflow: the stack ran off the bottom of the memory budget";
    } else if ((status & CFSR_MEMORY) != 0u) {
        code = MCU_EXIT_GUARD;
        kind = "memory guard: an access outside the memory budget";
    }
    semihost_print("FAULT ");
    semihost_print(kind);
    semihost_print(", PC=");
    semihost_print_hex(pc);
    semihost_print(" MMFAR=");
    semihost_print_hex(SCB_MMFAR);
    semihost_print(" BFAR=");
    semihost_print_hex(SCB_BFAR);
    semihost_print(" CFSR=");
    semihost_print_hex(status);
    semihost_print(" HFSR=");
    semihost_print_hex(SCB_HFSR);
    semihost_print(" exception=");
    semihost_print_number(exception);
    semihost_print("\n");
    semihost_exit(code);
}

/* The fifteen system exceptions; every one but reset ends the run. No interrupt is ever enabled. */
struct vectors {
    uint32_t *stack;
    void (*handlers[15])(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    mcu_stack_top,
    {Reset_Handler, mcu_fault_entry, mcu_fault_entry, mcu_fault_entry, mcu_fault_entry, mcu_fault_entry,
     mcu_fault_entry, mcu_fault_entry, mcu_fault_entry, mcu_fault_entry, mcu_fault_entry, mcu_fault_entry,
     mcu_fault_entry, mcu_fault_entry, mcu_fault_entry},
};
