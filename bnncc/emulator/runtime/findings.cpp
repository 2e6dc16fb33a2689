// What went wrong, where. Faults end the launch; findings are collected, one for each place.
#include <stdio.h>
#include "scheduler.h"

void emu_record(Thread *t, Block *block, u32 kind, u32 line, u32 other_line, s32 other, u64 address, u32 bytes, const char *text) {
  LaunchResult *result = machine.result;
  for (u32 i = 0; i < result->finding_count; i++)
    if (result->findings[i].kind == kind && result->findings[i].line == line) return;
  if (result->finding_count == MAX_FINDINGS) return;
  Finding *f = &result->findings[result->finding_count++];
  memset(f, 0, sizeof *f);
  f->kind = kind;
  f->line = line;
  f->other_line = other_line;
  f->other_thread = other;
  f->address = address;
  f->bytes = bytes;
  f->in_thread = t != nullptr;
  memcpy(f->block, t ? t->ctaid : block->index, sizeof f->block);
  if (t) memcpy(f->thread, t->tid, sizeof f->thread);
  snprintf(f->text, sizeof f->text, "%s", text);
}

void emu_abort(Thread *t) {
  machine.result->is_aborted = 1;
  void *lost;
  emu_switch(t ? &t->stack_pointer : &lost, machine.stack_pointer);
  __builtin_unreachable();
}

extern "C" void emu_fault(Thread *t, u32 kind, u32 line, u64 address, u32 bytes, const char *text) {
  emu_record(t, t->block, kind, line, 0, -1, address, bytes, text);
  emu_abort(t);
}

extern "C" void emu_finding(Thread *t, u32 kind, u32 line, u64 address, u32 bytes, const char *text) {
  emu_record(t, t->block, kind, line, 0, -1, address, bytes, text);
}

extern "C" void emu_bad_access(Thread *t, u32 line, const char *space, u64 address, u32 bytes, u64 limit) {
  char text[160];
  const bool is_misaligned = address & (bytes - 1);
  if (is_misaligned)
    snprintf(text, sizeof text, "%s access of %u bytes at offset %llu is not aligned", space, bytes, (unsigned long long)address);
  else
    snprintf(text, sizeof text, "%s access of %u bytes at offset %llu; there are %llu bytes", space, bytes, (unsigned long long)address, (unsigned long long)limit);
  emu_fault(t, is_misaligned ? FAULT_MISALIGNED : FAULT_OUT_OF_BOUNDS, line, address, bytes, text);
}

// "threads 0..31 wait at bar.sync (line 12); ..." with neighbours in the same state told together.
void emu_report_stuck(Block *block, u32 kind, const char *headline) {
  char text[352];
  size_t used = (size_t)snprintf(text, sizeof text, "%s:", headline);
  u32 line = 0;
  Thread *first_waiting = nullptr;
  for (u32 i = 0; i < block->thread_count && used < sizeof text;) {
    Thread *t = &block->threads[i];
    u32 j = i + 1;
    while (j < block->thread_count && block->threads[j].state == t->state && (t->state == DONE || (block->threads[j].line == t->line && block->threads[j].waits_for == t->waits_for))) j++;
    if (t->state == DONE)
      used += (size_t)snprintf(text + used, sizeof text - used, " threads %u..%u exited;", i, j - 1);
    else
      used += (size_t)snprintf(text + used, sizeof text - used, " threads %u..%u wait at %s (PTX line %u);", i, j - 1, t->waits_for ? t->waits_for : "nothing", t->line);
    if (t->state != DONE && !first_waiting) { first_waiting = t; line = t->line; }
    i = j;
  }
  emu_record(first_waiting, block, kind, line, 0, -1, 0, 0, text);
}
