/* What the pieces of the on-device runtime offer one another: exit codes, linker symbols, guard, timer. */
#ifndef MCU_DEVICE_H
#define MCU_DEVICE_H

#include <stdint.h>

/* What the machine is like, one thing a macro; options of the compiler, from the core's file in mcutrain/targets/cores:
 *   MCU_PMSA                   the version of the MPU's programming model: 7, 8, or 0 for a core without an MPU
 *   MCU_TIMER_IS_SSE_COUNTER   the counter that instructions are counted with: 1 for the system counter of Arm's
 *                              subsystems (its control frame), 0 for a CMSDK timer
 *   MCU_TIMER_BASE             where its registers lie; of the secure state, where the core has one and starts in it
 *   MCU_INSTRUCTIONS_PER_TICK  instructions that a tick of it stands for, when the emulator runs with -icount shift=0 */
#if !defined(MCU_PMSA) || !defined(MCU_TIMER_IS_SSE_COUNTER) || !defined(MCU_TIMER_BASE) ||                            \
    !defined(MCU_INSTRUCTIONS_PER_TICK)
#error "the firmware is built for a machine: see the macros that mcu_device.h lists"
#endif

/* How the firmware ends; the emulator hands the code to the host. */
enum mcu_exit {
    MCU_EXIT_OK = 0,
    MCU_EXIT_FILE = 2,         /* samples.bin or results.bin is missing, short or of another model */
    MCU_EXIT_MODEL = 3,        /* an entry point of the model returned an error */
    MCU_EXIT_GUARD = 16,       /* an access outside the memory budget */
    MCU_EXIT_FAULT = 17,       /* any other fault */
    MCU_EXIT_STACK = 18,       /* the stack ran off the bottom of the budget */
    MCU_EXIT_NO_GUARD = 19     /* this budget cannot be guarded exactly */
};

/* Set by the linker script; only their addresses mean something. RAM is exactly the budget. */
extern uint32_t mcu_flash_start[], mcu_flash_end[];
extern uint32_t mcu_ram_start[], mcu_ram_end[];
extern uint32_t mcu_stack_bottom[], mcu_stack_top[];
extern uint32_t mcu_data_start[], mcu_data_end[], mcu_data_load[];
extern uint32_t mcu_bss_start[], mcu_bss_end[];
/* Measurement memory outside the budget; empty but in a profile build. */
extern uint32_t mcu_measure_start[], mcu_measure_end[];

/* Lets the core touch flash (read, execute), RAM and the timer, and nothing else. 1: installed, 0: not possible. Without
 * an MPU it does nothing, and is always possible. */
int mcu_guard_install(void);

/* Paints the stack from its bottom up to the stack pointer. */
void mcu_stack_paint(void);

/* Largest number of stack bytes ever used since reset. */
uint32_t mcu_stack_peak(void);

#define MCU_TIMER_BYTES 4096u

/* Starts the free-running counter. */
void mcu_timer_init(void);

/* Ticks since mcu_timer_init, modulo 2^32; the CMSDK timer counts down. */
static inline uint32_t mcu_timer_ticks(void) {
#if MCU_TIMER_IS_SSE_COUNTER
    return *(volatile uint32_t *)(MCU_TIMER_BASE + 8u);
#else
    return ~*(volatile uint32_t *)(MCU_TIMER_BASE + 4u);
#endif
}

#endif
