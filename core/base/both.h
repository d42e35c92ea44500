// Two halves of one piece of work at once.
#ifndef TM_BASE_BOTH_H
#define TM_BASE_BOTH_H

// Runs fn(first) on a thread of its own and fn(second) here, and returns when both are done. When
// no thread can be had, one after the other. fn must not touch a ctx that the other half uses.
void tm_do_both(void (*fn)(void *half), void *first, void *second);

#endif
