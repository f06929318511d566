/* The backward micro-kernels on sizes that their assembly treats apart, the same on a device and on the host. */
#ifndef BACKWARD_CASES_H
#define BACKWARD_CASES_H

#include <stdint.h>

enum { FLOATS = 1200 }; /* of one case's results */

/* Runs case `number` over out, which is overwritten; 0 when there is no such case. */
int32_t backward_case(int32_t number, float *out);

#endif
