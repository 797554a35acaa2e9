/* Starts a program on a Cortex-M without a vendor's library: vectors, memory, the stack painted so that its use can be read, the FPU
 * switched on, semihosting. A fault ends the emulator with exit code 99. */
#include "target.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SYSTICK_CONTROL REGISTER(0xE000E010u)
#define SYSTICK_RELOAD REGISTER(0xE000E014u)
#define SYSTICK_VALUE REGISTER(0xE000E018u)
#define COPROCESSORS REGISTER(0xE000ED88u)
#define PAINT 0xA5A5A5A5u
enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026, FAULT_CODE = 99 };

extern uint32_t _stack_top, _stack_limit, _data_load, _data_start, _data_end, _bss_start, _bss_end;
int main(void);
void Reset_Handler(void);

static volatile uint32_t wraps;

int host_call(int operation, const void *argument) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void host_print(const char *text) { host_call(SYS_WRITE0, text); }

static void host_exit(int code) {
  const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
  host_call(SYS_EXIT_EXTENDED, block);
  for (;;) {
  }
}

void ticks_start(void) {
  SYSTICK_RELOAD = 0xFFFFFF;
  SYSTICK_VALUE = 0;
  SYSTICK_CONTROL = 7;
  while (!SYSTICK_VALUE) {
  }
  wraps = 0;
}

uint64_t ticks_now(void) {
  uint32_t turns, value;
  do {
    turns = wraps;
    value = SYSTICK_VALUE;
  } while (turns != wraps);
  return ((uint64_t)turns << 24) + (0xFFFFFF - value);
}

uint32_t stack_used(void) {
  const uint32_t *p = &_stack_limit;
  while (p < &_stack_top && *p == PAINT) p++;
  return (uint32_t)((const char *)&_stack_top - (const char *)p);
}

static void on_systick(void) { wraps++; }

static void on_fault(void) {
  host_print("fault\n");
  host_exit(FAULT_CODE);
}

void Reset_Handler(void) {
  uint32_t *from = &_data_load, *to = &_data_start, *stack;
  while (to < &_data_end) *to++ = *from++;
  for (to = &_bss_start; to < &_bss_end;) *to++ = 0;
  __asm__ volatile("mov %0, sp" : "=r"(stack));
  for (to = &_stack_limit; to < stack - 16;) *to++ = PAINT;
  COPROCESSORS |= 0xFu << 20;
  __asm__ volatile("dsb\n isb");
  host_exit(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &_stack_top,      (const void *)Reset_Handler, (const void *)on_fault, (const void *)on_fault,
    (const void *)on_fault, (const void *)on_fault, (const void *)on_fault, (const void *)on_fault,
    0, 0, 0, (const void *)on_fault, (const void *)on_fault, 0, (const void *)on_fault, (const void *)on_systick};
