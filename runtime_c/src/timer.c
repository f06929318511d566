/* The CMSDK timer of Arm's MPS2 boards: 25 MHz, which is 40 instructions a tick under -icount shift=0. */
#include "mcu_device.h"

#define TIMER ((volatile uint32_t *)0x40000000u)

enum { CONTROL, VALUE, RELOAD, INTERRUPT };

void mcu_timer_init(void) {
    TIMER[CONTROL] = 0;
    TIMER[RELOAD] = 0xFFFFFFFFu; /* a period of 2^32 ticks: differences are right modulo 2^32 */
    TIMER[VALUE] = 0xFFFFFFFFu;
    TIMER[CONTROL] = 1;
}
