/* What startup.c gives to a program on an emulated core. */
#ifndef TARGET_H
#define TARGET_H

#include <stdint.h>

/* A call of the emulator's host (Arm semihosting). */
int host_call(int operation, const void *argument);
void host_print(const char *text);
/* SysTick at the rate of the core: with QEMU's -icount shift=0 it counts instructions. */
void ticks_start(void);
uint64_t ticks_now(void);
/* Most bytes of stack that were used. */
uint32_t stack_used(void);

#endif
