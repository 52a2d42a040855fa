/* SPDX-License-Identifier: Apache-2.0
 *
 * start.c: start-up for QEMU's boards mps2-an386 (Cortex-M4) and mps2-an500 (Cortex-M7), where printf and exit go to
 * the host (semihosting). A chip's own start-up takes its place. */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t stack_top[], stack_limit[], bss_start[], bss_end[];
extern void initialise_monitor_handles(void);
extern int main(void);

void _init(void) {}
void _fini(void) {}

static void fault(void) { exit(4); }

void start(void) {
  uint32_t *word;
  *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the floating-point unit */
  for (word = bss_start; word < bss_end; word++) *word = 0;
  initialise_monitor_handles();
  exit(main());
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {
    stack_top, (const void *)start, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault};

#define PAINT 0xA5A5A5A5u

__attribute__((noinline)) void skin_edge_stack_paint(void) {
  volatile uint32_t *word, *here = (volatile uint32_t *)__builtin_frame_address(0) - 16;
  for (word = stack_limit; word < here; word++) *word = PAINT;
}

/* The most that the stack has held since, in bytes. */
unsigned skin_edge_stack_used(void) {
  const volatile uint32_t *word = stack_limit;
  while (word < stack_top && *word == PAINT) word++;
  return (unsigned)((uintptr_t)stack_top - (uintptr_t)word);
}
