/* The free-running counter that stands for executed instructions: under -icount shift=0 an instruction takes a
 * nanosecond. Arm's MPS2 boards have a CMSDK timer, at 25 or 20 MHz; the SSE-300 of the MPS3 board has a system counter,
 * which is scaled to 25 MHz. */
#include "mcu_device.h"

#if MCU_TIMER_IS_SSE_COUNTER
_Static_assert(MCU_INSTRUCTIONS_PER_TICK == 40, "25 MHz are 40 instructions a tick");
#define COUNTER ((volatile uint32_t *)MCU_TIMER_BASE)

enum { CONTROL, STATUS, VALUE_LOW, VALUE_HIGH, SCALE };

#define ENABLE 1u
#define SCALED 4u
#define TO_25_MHZ 0x00C80000u /* 25/32 of the 32 MHz that come in, 24 bits behind the point: exact */

void mcu_timer_init(void) {
    COUNTER[CONTROL] = 0; /* the scale may only change while the counter stands */
    COUNTER[SCALE] = TO_25_MHZ;
    COUNTER[VALUE_LOW] = 0;
    COUNTER[VALUE_HIGH] = 0;
    COUNTER[CONTROL] = ENABLE | SCALED;
}
#else
#define TIMER ((volatile uint32_t *)MCU_TIMER_BASE)

enum { CONTROL, VALUE, RELOAD, INTERRUPT };

void mcu_timer_init(void) {
    TIMER[CONTROL] = 0;
    TIMER[RELOAD] = 0xFFFFFFFFu; /* a period of 2^32 ticks: differences are right modulo 2^32 */
    TIMER[VALUE] = 0xFFFFFFFFu;
    TIMER[CONTROL] = 1;
}
#endif
