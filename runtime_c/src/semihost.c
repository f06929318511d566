/* Arm semihosting calls (Arm IHI 0105: operation in r0, argument block in r1, BKPT 0xAB). */
#include "semihost.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20
};
enum { OPEN_READ_BINARY = 1, OPEN_WRITE_BINARY = 5 };

#define APPLICATION_EXIT 0x20026u

static int32_t call(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

static uint32_t address(const void *pointer) {
    return (uint32_t)(uintptr_t)pointer;
}

static int32_t open_file(const char *path, uint32_t mode) {
    const volatile char *text = path; /* volatile: or the compiler makes this loop a call of strlen */
    uint32_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    const uint32_t block[3] = {address(path), mode, length};
    return call(SYS_OPEN, block);
}

int32_t semihost_open_read(const char *path) {
    return open_file(path, OPEN_READ_BINARY);
}

int32_t semihost_open_write(const char *path) {
    return open_file(path, OPEN_WRITE_BINARY);
}

int semihost_read(int32_t file, void *destination, uint32_t nbytes) {
    const uint32_t block[3] = {(uint32_t)file, address(destination), nbytes};
    return nbytes == 0u || call(SYS_READ, block) == 0; /* the answer is the number of bytes that did not move */
}

int semihost_write(int32_t file, const void *source, uint32_t nbytes) {
    const uint32_t block[3] = {(uint32_t)file, address(source), nbytes};
    return nbytes == 0u || call(SYS_WRITE, block) == 0;
}

void semihost_close(int32_t file) {
    const uint32_t block[1] = {(uint32_t)file};
    (void)call(SYS_CLOSE, block);
}

void semihost_print(const char *text) {
    (void)call(SYS_WRITE0, text);
}

void semihost_print_hex(uint32_t value) {
    char text[11] = "0x00000000";
    for (int digit = 9; digit >= 2; digit--) {
        text[digit] = "0123456789abcdef"[value & 15u];
        value >>= 4;
    }
    semihost_print(text);
}

void semihost_print_number(uint32_t value) {
    char text[11];
    int first = 10;
    text[10] = '\0';
    do {
        text[--first] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0u);
    semihost_print(&text[first]);
}

_Noreturn void semihost_exit(uint32_t code) {
    const uint32_t block[2] = {APPLICATION_EXIT, code};
    for (;;) {
        (void)call(SYS_EXIT_EXTENDED, block);
    }
}
