/* What stands between reset and main on a Cortex-M, and the only two functions that a network needs: memcpy and memset.
 * Compiled with -fno-tree-loop-distribute-patterns, lest the compiler make calls of themselves out of their loops. */
#include <stddef.h>
#include <stdint.h>

extern uint32_t stack_top[], bss_start[], bss_end[];
int main(void);
void reset(void);

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    while (bytes-- > 0)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    unsigned char *t = to;
    while (bytes-- > 0)
        *t++ = (unsigned char)value;
    return to;
}

/* Semihosting: a debugger, here the emulator, writes and ends for us. */
static void ask_host(int what, const void *argument)
{
    register int r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void print(const char *text)
{
    ask_host(0x04, text);
}

static void end(int status)
{
    const uint32_t exit_extended[2] = {0x20026, (uint32_t)status};
    ask_host(0x20, exit_extended);
    for (;;)
        ;
}

static void fault(void)
{
    print("fault\n");
    end(1);
}

void reset(void)
{
    for (uint32_t *word = bss_start; word < bss_end; ++word)
        *word = 0;
    end(main());
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)stack_top, (uintptr_t)reset, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault, (uintptr_t)fault, (uintptr_t)fault,
};
