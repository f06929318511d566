/* Arm semihosting: files and the console of the host, reached from the firmware through the emulator. */
#ifndef SEMIHOST_H
#define SEMIHOST_H

#include <stdint.h>

/* Opens a file of the emulator's working folder; a handle, or -1. */
int32_t semihost_open_read(const char *path);
int32_t semihost_open_write(const char *path);

/* Moves nbytes between the file and memory; 1 where all of them moved, 0 otherwise. */
int semihost_read(int32_t file, void *destination, uint32_t nbytes);
int semihost_write(int32_t file, const void *source, uint32_t nbytes);

void semihost_close(int32_t file);

/* Prints text, or a number in hexadecimal (0x and 8 digits) or decimal, on the console. */
void semihost_print(const char *text);
void semihost_print_hex(uint32_t value);
void semihost_print_number(uint32_t value);

/* Ends the emulation with this exit code. */
_Noreturn void semihost_exit(uint32_t code);

#endif
