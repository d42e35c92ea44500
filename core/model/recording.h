// What a recording (.tmr) is made of: shared by its writer and its reader. The byte layout is
// described in docs/formats.md, "Recordings (.tmr)".
#ifndef TM_MODEL_RECORDING_H
#define TM_MODEL_RECORDING_H

#include <stddef.h>
#include <stdint.h>

// First 8 bytes of a file; the last one is the version.
#define TM_RECORDING_MAGIC      "\x89TMR\r\n\x1a\x01"
#define TM_RECORDING_MAGIC_SIZE 8

typedef enum tm_record_type {
  TM_RECORD_META = 1,
  TM_RECORD_TARGET = 2,
  TM_RECORD_SERIES = 3,
  TM_RECORD_SAMPLES = 4,
  TM_RECORD_EVENT = 5,
  TM_RECORD_BLOB = 6,
  TM_RECORD_RULES = 7,
} tm_record_type;

// Flag on a type: the payload is packed (varint size, then zstd).
#define TM_RECORD_PACKED 0x80

enum {
  TM_RECORDING_PAYLOAD_MAX = 64 * 1024 * 1024, // of one record, unpacked
  TM_RECORDING_SERIES_MAX = 1024 * 1024,       // in one file; the same for targets
  TM_RECORDING_BATCH_MAX = 1024 * 1024,        // samples in one record
};

// Strings end in NUL and belong to whoever hands the struct over, for the call.
typedef struct tm_recording_target {
  const char *id; // "4711:880211"
  int64_t pid;
  int64_t start_time_ns;
  const char *name, *command;
  const char *labels_json; // one JSON object, "{}" when there are none
} tm_recording_target;

typedef struct tm_recording_series {
  uint32_t target;    // number of its target
  const char *metric; // "proc.rss"
  const char *key;    // which of a family ("socket"), "" otherwise
  const char *unit;   // tm_unit_name
} tm_recording_series;

typedef struct tm_recording_blob {
  uint32_t target;
  int64_t time_ns;
  const char *name; // findings name their evidence by it
  const void *data;
  size_t size;
} tm_recording_blob;

#endif
