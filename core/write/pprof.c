// profile.proto by hand: every message is small, so its body is built in one reused buffer and then
// copied behind its length. Numbers of value 0 are left out, as proto3 does.
// Source: github.com/google/pprof/proto/profile.proto.
#include "write/pprof.h"

#include "write/gzip.h"

typedef struct writer {
  tm_ctx *ctx;
  const tm_profile *p;
  tm_bytes *out;
  tm_bytes body, part; // a message, and a message or packed list inside it
  bool empty_text;     // some label is an empty text: not index 0, which means that there is none
} writer;

static tm_status put_int(writer *w, tm_bytes *to, uint32_t field, uint64_t value) {
  if (!value) return TM_OK;
  TM_TRY(tm_bytes_varint(w->ctx, to, (uint64_t)field << 3));
  return tm_bytes_varint(w->ctx, to, value);
}

static tm_status put_bytes(writer *w, tm_bytes *to, uint32_t field, const void *data, size_t size) {
  TM_TRY(tm_bytes_varint(w->ctx, to, (uint64_t)field << 3 | 2));
  TM_TRY(tm_bytes_varint(w->ctx, to, size));
  return size ? tm_bytes_append(w->ctx, to, data, size) : TM_OK;
}

static tm_status put_type(writer *w, uint32_t field, tm_value_type t) {
  w->body.size = 0;
  TM_TRY(put_int(w, &w->body, 1, t.type));
  TM_TRY(put_int(w, &w->body, 2, t.unit));
  return put_bytes(w, w->out, field, w->body.data, w->body.size);
}

static tm_status put_label(writer *w, const tm_label *l) {
  if (l->numeric && !l->number && !l->unit) return TM_OK; // the format cannot say it
  w->part.size = 0;
  TM_TRY(put_int(w, &w->part, 1, l->key));
  uint32_t text = l->text ? l->text : w->p->strings.count;
  w->empty_text |= !l->numeric && !l->text;
  TM_TRY(put_int(w, &w->part, 2, l->numeric ? 0 : text));
  TM_TRY(put_int(w, &w->part, 3, l->numeric ? (uint64_t)l->number : 0));
  TM_TRY(put_int(w, &w->part, 4, l->numeric ? l->unit : 0));
  return put_bytes(w, &w->body, 3, w->part.data, w->part.size);
}

static tm_status put_sample(writer *w, uint32_t s) {
  const tm_profile *p = w->p;
  w->body.size = w->part.size = 0;
  for (uint32_t i = tm_profile_stack_begin(p, s); i < p->stack_end.items[s]; i++)
    TM_TRY(tm_bytes_varint(w->ctx, &w->part, p->locations.items[p->stack.items[i]].id));
  if (w->part.size) TM_TRY(put_bytes(w, &w->body, 1, w->part.data, w->part.size));
  w->part.size = 0;
  for (size_t k = 0; k < p->types.count; k++)
    TM_TRY(tm_bytes_varint(w->ctx, &w->part,
                           (uint64_t)p->values.items[(size_t)s * p->types.count + k]));
  TM_TRY(put_bytes(w, &w->body, 2, w->part.data, w->part.size));
  for (uint32_t i = tm_profile_label_begin(p, s); i < tm_profile_label_end(p, s); i++)
    TM_TRY(put_label(w, &p->labels.items[i]));
  return put_bytes(w, w->out, 2, w->body.data, w->body.size);
}

static tm_status put_mapping(writer *w, const tm_mapping *m) {
  w->body.size = 0;
  const uint64_t fields[] = {
      m->id,       m->start,         m->limit,         m->file_offset,      m->file,
      m->build_id, m->has_functions, m->has_filenames, m->has_line_numbers, m->has_inline_frames};
  for (uint32_t i = 0; i < TM_COUNT(fields); i++) TM_TRY(put_int(w, &w->body, i + 1, fields[i]));
  return put_bytes(w, w->out, 3, w->body.data, w->body.size);
}

static tm_status put_location(writer *w, const tm_location *loc) {
  const tm_profile *p = w->p;
  w->body.size = 0;
  TM_TRY(put_int(w, &w->body, 1, loc->id));
  if (loc->mapping != TM_PROFILE_NONE)
    TM_TRY(put_int(w, &w->body, 2, p->mappings.items[loc->mapping].id));
  TM_TRY(put_int(w, &w->body, 3, loc->address));
  for (uint32_t i = loc->line_begin; i < loc->line_end; i++) {
    const tm_line *line = &p->lines.items[i];
    w->part.size = 0;
    TM_TRY(put_int(w, &w->part, 1, p->functions.items[line->function].id));
    TM_TRY(put_int(w, &w->part, 2, (uint64_t)line->line));
    TM_TRY(put_int(w, &w->part, 3, (uint64_t)line->column));
    TM_TRY(put_bytes(w, &w->body, 4, w->part.data, w->part.size));
  }
  TM_TRY(put_int(w, &w->body, 5, loc->folded));
  return put_bytes(w, w->out, 4, w->body.data, w->body.size);
}

static tm_status put_function(writer *w, const tm_function *f) {
  w->body.size = 0;
  TM_TRY(put_int(w, &w->body, 1, f->id));
  TM_TRY(put_int(w, &w->body, 2, f->name));
  TM_TRY(put_int(w, &w->body, 3, f->system_name));
  TM_TRY(put_int(w, &w->body, 4, f->file));
  TM_TRY(put_int(w, &w->body, 5, (uint64_t)f->start_line));
  return put_bytes(w, w->out, 5, w->body.data, w->body.size);
}

static tm_status put_header(writer *w) {
  const tm_profile *p = w->p;
  TM_TRY(put_int(w, w->out, 7, p->drop_frames));
  TM_TRY(put_int(w, w->out, 8, p->keep_frames));
  TM_TRY(put_int(w, w->out, 9, (uint64_t)p->time_ns));
  TM_TRY(put_int(w, w->out, 10, (uint64_t)p->duration_ns));
  if (p->period_type.type || p->period_type.unit) TM_TRY(put_type(w, 11, p->period_type));
  TM_TRY(put_int(w, w->out, 12, (uint64_t)p->period));
  w->body.size = 0;
  for (size_t i = 0; i < p->comments.count; i++)
    TM_TRY(tm_bytes_varint(w->ctx, &w->body, p->comments.items[i]));
  if (w->body.size) TM_TRY(put_bytes(w, w->out, 13, w->body.data, w->body.size));
  TM_TRY(put_int(w, w->out, 14, p->default_type));
  return put_int(w, w->out, 15, p->doc_url);
}

static tm_status put_profile(writer *w) {
  const tm_profile *p = w->p;
  for (size_t i = 0; i < p->types.count; i++) TM_TRY(put_type(w, 1, p->types.items[i]));
  for (uint32_t s = 0; s < p->sample_count; s++) TM_TRY(put_sample(w, s));
  for (size_t i = 0; i < p->mappings.count; i++) TM_TRY(put_mapping(w, &p->mappings.items[i]));
  for (size_t i = 0; i < p->locations.count; i++) TM_TRY(put_location(w, &p->locations.items[i]));
  for (size_t i = 0; i < p->functions.count; i++) TM_TRY(put_function(w, &p->functions.items[i]));
  for (uint32_t i = 0; i < p->strings.count; i++)
    TM_TRY(
        put_bytes(w, w->out, 6, tm_strtab_text(&p->strings, i), tm_strtab_length(&p->strings, i)));
  if (w->empty_text) TM_TRY(put_bytes(w, w->out, 6, "", 0));
  return put_header(w);
}

tm_status tm_write_pprof(tm_ctx *ctx, const tm_profile *p, bool gzip, tm_bytes *out) {
  tm_bytes plain = {0};
  writer w = {.ctx = ctx, .p = p, .out = gzip ? &plain : out};
  tm_status status = put_profile(&w);
  if (status == TM_OK && gzip) status = tm_gzip(ctx, plain.data, plain.size, 1, out);
  tm_bytes_free(ctx, &plain);
  tm_bytes_free(ctx, &w.body);
  tm_bytes_free(ctx, &w.part);
  return status;
}
