/* What the pieces of the on-device runtime offer one another: exit codes, linker symbols, guard, timer. */
#ifndef MCU_DEVICE_H
#define MCU_DEVICE_H

#include <stdint.h>

/* How the firmware ends; the emulator hands the code to the host. */
enum mcu_exit {
    MCU_EXIT_OK = 0,
    MCU_EXIT_FILE = 2,         /* samples.bin or results.bin is missing, short or of another model */
    MCU_EXIT_MODEL = 3,        /* an entry point of the model returned an error */
    MCU_EXIT_GUARD = 16,       /* an access outside the memory budget */
    MCU_EXIT_FAULT = 17,       /* any other fault */
    MCU_EXIT_STACK = 18,       /* the stack ran off the bottom of the budget */
    MCU_EXIT_NO_GUARD = 19     /* this budget cannot be guarded exactly, or the core has no MPU */
};

/* Set by the linker script; only their addresses mean something. RAM is exactly the budget. */
extern uint32_t mcu_flash_start[], mcu_flash_end[];
extern uint32_t mcu_ram_start[], mcu_ram_end[];
extern uint32_t mcu_stack_bottom[], mcu_stack_top[];
extern uint32_t mcu_data_start[], mcu_data_end[], mcu_data_load[];
extern uint32_t mcu_bss_start[], mcu_bss_end[];
/* Measurement memory outside the budget; empty but in a profile build. */
extern uint32_t mcu_measure_start[], mcu_measure_end[];

/* Lets the core touch flash (read, execute), RAM and the timer, and nothing else. 1: installed, 0: not possible. */
int mcu_guard_install(void);

/* Largest number of stack bytes ever used since reset. */
uint32_t mcu_stack_peak(void);

/* The counter of the emulated machine: beside the Cortex-M55 the system counter of the SSE-300 (its control frame, at the
 * address of the secure state, in which the core starts), a CMSDK timer beside the older cores. */
#if __ARM_ARCH >= 8
#define MCU_HAS_SYSTEM_COUNTER 1
#define MCU_TIMER_BASE 0x58100000u
#else
#define MCU_HAS_SYSTEM_COUNTER 0
#define MCU_TIMER_BASE 0x40000000u
#endif
#define MCU_TIMER_BYTES 4096u

/* Starts the free-running counter. */
void mcu_timer_init(void);

/* Instructions that one tick of the counter stands for, when the emulator runs with -icount shift=0. */
#define MCU_INSTRUCTIONS_PER_TICK 40u

/* Ticks since mcu_timer_init, modulo 2^32; the CMSDK timer counts down. */
static inline uint32_t mcu_timer_ticks(void) {
#if MCU_HAS_SYSTEM_COUNTER
    return *(volatile uint32_t *)(MCU_TIMER_BASE + 8u);
#else
    return ~*(volatile uint32_t *)(MCU_TIMER_BASE + 4u);
#endif
}

#endif
