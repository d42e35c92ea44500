// How the malloc agent is spoken to: a stream socket, $XDG_RUNTIME_DIR/tidemark/PID.sock or
// /tmp/tidemark-UID/PID.sock, mode 0600, for the process's own user and root. This file is all that
// both sides share.
//
// Either way go frames: a length (u32, little-endian) and that many bytes. A request is one frame,
// a protobuf message of the fields tm_agent_ask. The answer is one frame of the fields
// tm_agent_reply; after that of a snapshot come frames with the bytes of an uncompressed pprof
// profile and an empty one as its end. A connection serves any number of requests, one after the
// other.
//
// A program that ends by exit() dials the socket that its option `exit=PATH` names and says the
// same as an answer to `snapshot`, so that what lived at the end is not lost.
#ifndef TM_AGENT_WIRE_H
#define TM_AGENT_WIRE_H

enum {
  TM_AGENT_ABI = 1,
  TM_AGENT_REQUEST_BYTES = 4096, // no request frame is longer
  TM_AGENT_RATE_BYTES = 524288,  // one sample in so many bytes unless asked otherwise
};

// The verbs.
enum {
  TM_AGENT_HELLO = 1,          // text: version; the names and values of `stats` that cost nothing
  TM_AGENT_START,              // begins to record: mode, rate, min_size
  TM_AGENT_STOP,               // records no new blocks; frees of known ones are still seen
  TM_AGENT_SNAPSHOT,           // the profile; since_epoch, min_age_ms, kinds, flags
  TM_AGENT_MARK,               // begins a new epoch; value "epoch"
  TM_AGENT_RESET,              // forgets everything
  TM_AGENT_STATS,              // counters of the agent, mallinfo2 of the allocator
  TM_AGENT_TRIM,               // malloc_trim(0); values "trim_ns", "arena_bytes" before and after
  TM_AGENT_DETACH,             // stops, takes attached hooks out, closes the socket
  TM_AGENT_HANDLES_START = 16, // records who opens descriptors and makes pixmaps
  TM_AGENT_HANDLES_STOP,       // records no new ones; closed ones are still seen
};

// Fields of a request; all but `verb` are optional.
enum {
  TM_AGENT_ASK_VERB = 1,    // varint
  TM_AGENT_ASK_MODE,        // varint, see below
  TM_AGENT_ASK_RATE,        // varint, bytes
  TM_AGENT_ASK_MIN_SIZE,    // varint, bytes
  TM_AGENT_ASK_SINCE_EPOCH, // varint: only blocks of this epoch and later ones
  TM_AGENT_ASK_MIN_AGE_MS,  // varint: only blocks at least so old
  TM_AGENT_ASK_KINDS,       // varint: bits 1 << kind; absent = malloc
  TM_AGENT_ASK_FLAGS,       // varint, see below
};

// Fields of an answer.
enum {
  TM_AGENT_REPLY_STATUS = 1, // varint: 0 done, else refused
  TM_AGENT_REPLY_TEXT,       // bytes: why, or the version
  TM_AGENT_REPLY_NAME,       // bytes: of the value that follows; repeated
  TM_AGENT_REPLY_VALUE,      // varint
};

enum { TM_AGENT_IDLE = 0, TM_AGENT_SAMPLED = 1, TM_AGENT_FULL = 2 }; // modes
// Kinds. Handles are asked for alone, 1 << TM_AGENT_FD: the profile has the types handles and
// space.
enum { TM_AGENT_MALLOC = 0, TM_AGENT_MMAP = 1, TM_AGENT_FD = 2 };
enum { TM_AGENT_ADDRESSES = 1 }; // flag of a snapshot: one row per block with its address

#endif
