/* The memory guard: the core may touch flash, the budgeted RAM and the timer; one byte further is a fault.
 *
 * mcu_guard_install lists the ranges; what differs between architectures is only how a range becomes regions (`cover`):
 * PMSAv7 (Cortex-M3, M4, M7) takes powers of two with subregions, PMSAv8 (M33, M55) base and limit, one region a range.
 * Code for a Cortex-M0+ is run on a core with PMSAv7; an M0+ of its own has no regions below 256 bytes. */
#include "mcu_device.h"

#define MPU ((volatile uint32_t *)0xE000ED90u)

#if MCU_PMSA == 8
enum { TYPE, CONTROL, NUMBER, BASE, LIMIT, KINDS = 12 };
#define REGION_SWITCH LIMIT

/* What RBAR says of access, and RLAR (in the bits from 16 on, here) of the kind of memory: an index into MAIR. */
#define EXECUTE_NEVER 1u
#define PRIVILEGED_READ_WRITE 0u
#define READ_ONLY (2u << 1)
#define NORMAL_MEMORY 0u
#define DEVICE_MEMORY (1u << 17)
#define KINDS_OF_MEMORY 0x000004FFu /* 0: normal, written back; 1: a device */

/* Covers [base, base + size) with one region; both are multiples of 32. Returns the next free region, or `limit` + 1
 * where none was left. */
static uint32_t cover(uint32_t region, uint32_t limit, uint32_t base, uint32_t size, uint32_t attributes) {
    if (size == 0u || region >= limit) {
        return size == 0u ? region : limit + 1u;
    }
    MPU[NUMBER] = region;
    MPU[BASE] = base | (attributes & 31u);
    MPU[LIMIT] = (base + size - 32u) | (attributes >> 16) | 1u;
    return region + 1u;
}
#elif MCU_PMSA == 7
enum { TYPE, CONTROL, NUMBER, BASE, ATTRIBUTES };
#define REGION_SWITCH ATTRIBUTES

/* RASR fields of Armv7-M: XN, AP, TEX/S/C/B */
#define EXECUTE_NEVER (1u << 28)
#define PRIVILEGED_READ_WRITE (1u << 24)
#define READ_ONLY (6u << 24)
#define NORMAL_MEMORY ((1u << 19) | (1u << 17) | (1u << 16))
#define DEVICE_MEMORY (1u << 16)
#define MINIMUM_LOG2 5u  /* the smallest region is 32 bytes */
#define SUBREGION_LOG2 8u /* regions of 256 bytes and more have eight subregions */

/* Covers [base, base + size) exactly, `base` aligned to the next power of two above `size`, `size` a multiple of 32.
 * Each region is the power of two at or above what is left, with the subregions beyond the end switched off; it takes
 * three bits off the remainder, and what is left starts at an address aligned for the next, smaller region.
 * Returns the next free region, or `limit` + 1 where the regions do not suffice. */
static uint32_t cover(uint32_t region, uint32_t limit, uint32_t base, uint32_t size, uint32_t attributes) {
    while (size != 0u && region < limit) {
        uint32_t log2 = MINIMUM_LOG2;
        while ((1u << log2) < size) {
            log2++;
        }
        uint32_t covered = 1u << log2;
        uint32_t disabled = 0;
        if (covered > size && log2 < SUBREGION_LOG2) { /* no subregions: the power of two below */
            log2--;
            covered = 1u << log2;
        } else if (covered > size) {
            const uint32_t eighths = size >> (log2 - 3u);
            disabled = (0xFFu << eighths) & 0xFFu;
            covered = eighths << (log2 - 3u);
        }
        MPU[NUMBER] = region++;
        MPU[BASE] = base;
        MPU[ATTRIBUTES] = attributes | (disabled << 8) | ((log2 - 1u) << 1) | 1u;
        base += covered;
        size -= covered;
    }
    return size == 0u ? region : limit + 1u;
}
#elif MCU_PMSA != 0
#error "MCU_PMSA is 7, 8 or 0"
#endif

#if MCU_PMSA == 0
int mcu_guard_install(void) {
    return 1;
}
#else
static uint32_t cover_symbols(uint32_t region, uint32_t limit, const uint32_t *start, const uint32_t *end,
                              uint32_t attributes) {
    const uint32_t base = (uint32_t)(uintptr_t)start;
    return cover(region, limit, base, (uint32_t)(uintptr_t)end - base, attributes);
}

int mcu_guard_install(void) {
#if MCU_PMSA == 8
    MPU[KINDS] = KINDS_OF_MEMORY;
#endif
    const uint32_t limit = (MPU[TYPE] >> 8) & 0xFFu;
    const uint32_t data = EXECUTE_NEVER | PRIVILEGED_READ_WRITE;
    uint32_t region = cover_symbols(0, limit, mcu_flash_start, mcu_flash_end, READ_ONLY | NORMAL_MEMORY);
    region = cover(region, limit, MCU_TIMER_BASE, MCU_TIMER_BYTES, data | DEVICE_MEMORY);
    region = cover_symbols(region, limit, mcu_measure_start, mcu_measure_end, data | NORMAL_MEMORY);
    region = cover_symbols(region, limit, mcu_ram_start, mcu_ram_end, data | NORMAL_MEMORY);
    if (region > limit) {
        return 0;
    }
    for (uint32_t unused = region; unused < limit; unused++) {
        MPU[NUMBER] = unused;
        MPU[REGION_SWITCH] = 0;
    }
    MPU[CONTROL] = 1; /* on; no background map for privileged code, off inside HardFault */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    return 1;
}
#endif
