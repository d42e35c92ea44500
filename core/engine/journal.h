// Keeps what an engine sees, finds and does: in a recording (.tmr) for replays, in the history
// (SQLite) for later questions, or in both. Observes the engine; neither side makes it wait.
#ifndef TM_ENGINE_JOURNAL_H
#define TM_ENGINE_JOURNAL_H

#include "engine/engine.h"
#include "engine/history.h"
#include "write/recording.h"

typedef struct tm_journal tm_journal;

// Either may be NULL. The journal does not own them. It also records the targets that are there
// already. At most one journal an engine.
TM_NODISCARD tm_status tm_journal_new(tm_ctx *ctx, tm_engine *engine, tm_recording *recording,
                                      tm_history *history, tm_journal **out);

// Detach before the engine, the recording and the history are freed.
void tm_journal_free(tm_journal *journal);

// Hands the recording's buffers to the kernel; call it every 2 s. What the disk refuses is logged
// once.
void tm_journal_flush(tm_journal *journal);

#endif
