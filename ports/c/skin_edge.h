/* SPDX-License-Identifier: Apache-2.0
 *
 * skin_edge.h: a skin-edge model file and the pixels of a picture -> decisions, as CONTRACT.md defines them.
 *
 * C99 and C++, no dependency, no allocation, no floating point before the tensor, nothing global. In one C file:
 *
 *     #define SKIN_EDGE_IMPLEMENTATION
 *     #include "skin_edge.h"
 *
 * Decoding and the network are the app's: see README.md beside this file for ten lines that use it. Every function that
 * can fail returns a status; any other than SKIN_EDGE_OK means "cannot assess" (`skin_edge_message`), never a class.
 */
#ifndef SKIN_EDGE_H
#define SKIN_EDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What `skin_edge_model` has room for; define them before the header to have more, or less. A file that needs more is
 * refused with SKIN_EDGE_TOO_LARGE. TEXT: bytes of a code or name in UTF-8, the final 0 included. */
#ifndef SKIN_EDGE_MAX_LABELS
#define SKIN_EDGE_MAX_LABELS 64
#endif
#ifndef SKIN_EDGE_MAX_THRESHOLDS
#define SKIN_EDGE_MAX_THRESHOLDS 64
#endif
#ifndef SKIN_EDGE_MAX_CHECKS
#define SKIN_EDGE_MAX_CHECKS 32
#endif
#ifndef SKIN_EDGE_TEXT
#define SKIN_EDGE_TEXT 96
#endif
#ifndef SKIN_EDGE_SENTENCE /* of why a picture cannot be assessed, and of what to do about it */
#define SKIN_EDGE_SENTENCE 256
#endif

/* Define SKIN_EDGE_LOGITS to accept files too whose network leaves the softmax to the port: made for microcontrollers.
 * The output then goes through skin_edge_probabilities, never through skin_edge_real alone. */

typedef enum {
  SKIN_EDGE_OK = 0,
  SKIN_EDGE_NOT_A_MODEL,   /* no .tflite with labels.txt and metadata.json behind it */
  SKIN_EDGE_BROKEN_SEAL,   /* network, labels or contract are not those that were sealed together */
  SKIN_EDGE_OTHER_VERSION, /* a format_version or an assessment of a version that is not known here */
  SKIN_EDGE_OTHER_STEPS,   /* preprocessing that this port does not do */
  SKIN_EDGE_NEEDS_PATIENT, /* a second input, for what is known of the patient */
  SKIN_EDGE_MALFORMED,     /* a field of metadata.json is missing or not of its form */
  SKIN_EDGE_TOO_LARGE,     /* more labels, thresholds, checks or text than this build has room for */
  SKIN_EDGE_NO_PICTURE,    /* no pixels, an unknown layout, or rows that ended early */
  SKIN_EDGE_MANY_PIXELS,   /* more pixels than the contract allows */
  SKIN_EDGE_SMALL_MEMORY,  /* less memory than skin_edge_memory says */
  SKIN_EDGE_NO_ANSWER,     /* the network failed, or answered with what is no probability */
  SKIN_EDGE_NOT_MEASURED,  /* the model has limits, and the picture was not measured */
  SKIN_EDGE_REFUSED,       /* the picture is beyond the model's limits: answer.reasons, skin_edge_refusal */
} skin_edge_status;

typedef enum { SKIN_EDGE_UINT8, SKIN_EDGE_INT8, SKIN_EDGE_FLOAT32 } skin_edge_type;

typedef struct {
  char code[SKIN_EDGE_TEXT];
  char name[SKIN_EDGE_TEXT];
  int malignant; /* 1, 0, or -1: not known */
} skin_edge_label;

typedef struct {
  char name[SKIN_EDGE_TEXT];
  double threshold, borderline_within;
  uint8_t classes[(SKIN_EDGE_MAX_LABELS + 7) / 8]; /* bit i % 8 of byte i / 8: whether label i counts */
} skin_edge_threshold;

/* What is measured of a picture: CONTRACT.md, section 12. */
typedef enum {
  SKIN_EDGE_LUMA, SKIN_EDGE_BLACK, SKIN_EDGE_WHITE, SKIN_EDGE_CLIPPED, SKIN_EDGE_RED_GREEN, SKIN_EDGE_BLUE_GREEN,
  SKIN_EDGE_CONTRAST, SKIN_EDGE_DETAIL, SKIN_EDGE_RIDGES, SKIN_EDGE_OUTLIER_SCORE
} skin_edge_feature;

typedef struct {
  int32_t values[SKIN_EDGE_OUTLIER_SCORE]; /* of the bytes: exact, in the order of skin_edge_feature */
  float outlier_score;                     /* the network's */
  int has_outlier_score;
} skin_edge_features;

/* A limit, and why a picture beyond it cannot be assessed. */
typedef struct {
  skin_edge_feature feature;
  int has_below, has_above;
  double below, above;
  char reason[SKIN_EDGE_TEXT];     /* a code, such as "too_dark" */
  char text[SKIN_EDGE_SENTENCE];   /* "too dark" */
  char remedy[SKIN_EDGE_SENTENCE]; /* "more light"; may be empty */
} skin_edge_check;

typedef struct {
  skin_edge_type type;
  double scale; /* 0: not quantized */
  int32_t zero_point;
  uint32_t rows, columns; /* of the input's picture or of the class activation map; 0: no such output */
} skin_edge_tensor;

/* What a model file says of itself. The file itself may be released afterwards. */
typedef struct {
  char notice[8 * SKIN_EDGE_TEXT]; /* to be shown with every answer */
  skin_edge_tensor input, probabilities, map, outlier_score;
  int logits; /* the output `probabilities` describes is logits: skin_edge_probabilities makes probabilities of them */
  int bytes_unchanged; /* the picture's bytes are the tensor */
  double mean[3], std[3];
  uint32_t label_count, threshold_count, check_count;
  skin_edge_label labels[SKIN_EDGE_MAX_LABELS];
  skin_edge_threshold thresholds[SKIN_EDGE_MAX_THRESHOLDS];
  skin_edge_check checks[SKIN_EDGE_MAX_CHECKS];
  int has_possible;
  double possible[SKIN_EDGE_MAX_LABELS]; /* the probability from which a class is possible */
  uint64_t max_pixels;
} skin_edge_model;

/* How the samples lie in memory: 8 bits, or 16 bits in the machine's own order, one pixel after the other. CMYK is as
 * in an Adobe JPEG, 255 without ink. Alpha is straight, not premultiplied. */
typedef enum {
  SKIN_EDGE_GREY, SKIN_EDGE_GREY_ALPHA, SKIN_EDGE_RGB, SKIN_EDGE_RGBA, SKIN_EDGE_BGR, SKIN_EDGE_BGRA, SKIN_EDGE_CMYK,
  SKIN_EDGE_GREY16, SKIN_EDGE_GREY_ALPHA16, SKIN_EDGE_RGB16, SKIN_EDGE_RGBA16
} skin_edge_layout;

/* A picture as it was decoded, in sRGB. */
typedef struct {
  const void *pixels;
  uint32_t width, height; /* as stored, before it is turned upright */
  size_t row_bytes;       /* from a row to the next */
  skin_edge_layout layout;
  int orientation; /* EXIF's 1 to 8 (skin_edge_orientation); anything else counts as 1 */
} skin_edge_picture;

typedef struct {
  const char *name; /* in the model */
  double score, threshold;
  int refer;      /* 1: score >= threshold; 0: below, which is no all-clear */
  int borderline; /* 1: another correct implementation may decide otherwise; show it as such */
} skin_edge_decision;

typedef struct {
  uint32_t label; /* position of the most probable class */
  uint32_t decision_count;
  skin_edge_decision decisions[SKIN_EDGE_MAX_THRESHOLDS];
  int assessable; /* 0: label and decisions are for logs alone and must not be shown as an answer */
  uint32_t reason_count;
  const skin_edge_check *reasons[SKIN_EDGE_MAX_CHECKS]; /* why not, each reason once; in the model */
  int has_possible;                                     /* whether the model says which classes are possible */
  uint8_t possible[(SKIN_EDGE_MAX_LABELS + 7) / 8];     /* as a threshold's classes */
} skin_edge_answer;

/* "cannot assess: ..." in English, for logs; "" for SKIN_EDGE_OK. */
const char *skin_edge_message(skin_edge_status status);

/* Reads and checks a whole .tflite file in memory, its seal included. */
skin_edge_status skin_edge_open(const void *file, size_t length, skin_edge_model *model);

/* The EXIF orientation of a JPEG or PNG file in memory, 1 where there is none; or of an EXIF block alone. */
int skin_edge_orientation(const void *file, size_t length);
int skin_edge_exif_orientation(const void *exif, size_t length);

/* Whether an ICC profile may be left alone: 1 where it describes sRGB, is no profile, or is for another colour model
 * than the picture's (grey: 1 for a grey picture). 0: convert the picture to sRGB, or refuse it. */
int skin_edge_profile_is_skipped(const void *profile, size_t length, int grey);

/* The size of the upright picture, and its row y (3 * width bytes of RGB). */
void skin_edge_upright_size(const skin_edge_picture *picture, uint32_t *width, uint32_t *height);
void skin_edge_upright_row(const skin_edge_picture *picture, uint32_t y, uint8_t *rgb);

/* Bytes of working memory for an upright picture of this size; 0 where that cannot be. */
size_t skin_edge_memory(uint32_t width, uint32_t height, uint32_t to_width, uint32_t to_height);

/* Picture -> rgb, 3 * columns * rows bytes of the model's input size. Refuses what is over the model's limits. */
skin_edge_status skin_edge_resize(const skin_edge_model *model, const skin_edge_picture *picture, uint8_t *rgb,
                                  void *memory, size_t memory_size);

/* The same for a picture that is never whole in memory, such as a camera's: `row` is called once for each upright row,
 * from the top, and writes 3 * width bytes of RGB; it returns 0 where it cannot. */
typedef int (*skin_edge_row)(void *user, uint32_t y, uint8_t *rgb);
skin_edge_status skin_edge_resize_rows(uint32_t width, uint32_t height, skin_edge_row row, void *user,
                                       uint32_t to_width, uint32_t to_height, uint8_t *rgb, void *memory,
                                       size_t memory_size);

/* rgb -> the input tensor, of model->input.type. In place where bytes go in unchanged and tensor is rgb. */
void skin_edge_fill_tensor(const skin_edge_model *model, const uint8_t *rgb, void *tensor);

/* count values of an output tensor -> real numbers. */
void skin_edge_real(const skin_edge_tensor *tensor, const void *values, size_t count, float *real);

/* The first output tensor -> probabilities in the order of the labels, whatever the network leaves to the port. */
skin_edge_status skin_edge_probabilities(const skin_edge_model *model, const void *values, float *probabilities);

/* rgb, 3 * columns * rows bytes of the model's input size -> features.values, in integers. Before the network runs, where
 * rgb is its tensor. */
void skin_edge_measure(const skin_edge_model *model, const uint8_t *rgb, skin_edge_features *features);

/* The value of the network's output outlier_score -> features; for a model with model->outlier_score.rows. */
skin_edge_status skin_edge_score(const skin_edge_model *model, const void *value, skin_edge_features *features);

/* "luma", ... as the contract names them. */
const char *skin_edge_feature_name(skin_edge_feature feature);

/* Probabilities in the order of the labels -> class and decisions. features: of the same picture; NULL for a model without
 * checks (model->check_count). SKIN_EDGE_REFUSED: the answer is whole, but must not be shown: "cannot assess" is. */
skin_edge_status skin_edge_decide(const skin_edge_model *model, const float *probabilities,
                                  const skin_edge_features *features, skin_edge_answer *answer);

/* "cannot assess: too dark (more light); ..." of an answer's reasons, cut at `size` bytes. */
void skin_edge_refusal(const skin_edge_answer *answer, char *text, size_t size);

/* SHA-256, for tests and golden values. */
typedef struct {
  uint32_t state[8];
  uint64_t length;
  uint8_t block[64];
} skin_edge_sha256;
void skin_edge_sha256_begin(skin_edge_sha256 *sha);
void skin_edge_sha256_add(skin_edge_sha256 *sha, const void *bytes, size_t length);
void skin_edge_sha256_end(skin_edge_sha256 *sha, char hex[65]);

#ifdef __cplusplus
}
#endif
#endif /* SKIN_EDGE_H */

#ifdef SKIN_EDGE_IMPLEMENTATION
#undef SKIN_EDGE_IMPLEMENTATION

#include <string.h>

const char *skin_edge_message(skin_edge_status status) {
  switch (status) {
    case SKIN_EDGE_OK: return "";
    case SKIN_EDGE_NOT_A_MODEL: return "cannot assess: the model is no .tflite file of skin-edge, or is cut off";
    case SKIN_EDGE_BROKEN_SEAL: return "cannot assess: the model was changed since it was sealed: copy it anew";
    case SKIN_EDGE_OTHER_VERSION: return "cannot assess: the model's contract is of a version that is not known here";
    case SKIN_EDGE_OTHER_STEPS: return "cannot assess: the model asks for preprocessing that is not known here";
    case SKIN_EDGE_NEEDS_PATIENT: return "cannot assess: the model asks for what is known of the patient";
    case SKIN_EDGE_MALFORMED: return "cannot assess: the model's metadata.json is malformed";
    case SKIN_EDGE_TOO_LARGE: return "cannot assess: the model has more labels, thresholds, checks or text than fit here";
    case SKIN_EDGE_NO_PICTURE: return "cannot assess: no picture, or it is damaged";
    case SKIN_EDGE_MANY_PIXELS: return "cannot assess: the picture has more pixels than the limit";
    case SKIN_EDGE_SMALL_MEMORY: return "cannot assess: too little memory";
    case SKIN_EDGE_NO_ANSWER: return "cannot assess: the network did not give probabilities";
    case SKIN_EDGE_NOT_MEASURED: return "cannot assess: the model has limits, and the picture was not measured";
    case SKIN_EDGE_REFUSED: return "cannot assess: the picture is beyond the model's limits";
  }
  return "cannot assess";
}

/* ---- SHA-256 (FIPS 180-4) ---- */

static uint32_t se_rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void se_sha_block(uint32_t state[8], const uint8_t *block) {
  static const uint32_t k[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
      0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
      0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
      0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
      0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
      0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
      0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
      0xc67178f2};
  uint32_t w[64], s[8];
  int i;
  for (i = 0; i < 16; i++)
    w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
           block[4 * i + 3];
  for (; i < 64; i++)
    w[i] = w[i - 16] + w[i - 7] + (se_rotate(w[i - 15], 7) ^ se_rotate(w[i - 15], 18) ^ w[i - 15] >> 3) +
           (se_rotate(w[i - 2], 17) ^ se_rotate(w[i - 2], 19) ^ w[i - 2] >> 10);
  memcpy(s, state, sizeof s);
  for (i = 0; i < 64; i++) {
    uint32_t a = s[7] + (se_rotate(s[4], 6) ^ se_rotate(s[4], 11) ^ se_rotate(s[4], 25)) +
                 ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
    uint32_t b = (se_rotate(s[0], 2) ^ se_rotate(s[0], 13) ^ se_rotate(s[0], 22)) +
                 ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += a;
    s[0] = a + b;
  }
  for (i = 0; i < 8; i++) state[i] += s[i];
}

void skin_edge_sha256_begin(skin_edge_sha256 *sha) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(sha->state, start, sizeof start);
  sha->length = 0;
}

void skin_edge_sha256_add(skin_edge_sha256 *sha, const void *bytes, size_t length) {
  const uint8_t *p = (const uint8_t *)bytes;
  while (length > 0) {
    size_t used = (size_t)(sha->length % 64), part = 64 - used < length ? 64 - used : length;
    memcpy(sha->block + used, p, part);
    sha->length += part;
    p += part;
    length -= part;
    if (sha->length % 64 == 0) se_sha_block(sha->state, sha->block);
  }
}

void skin_edge_sha256_end(skin_edge_sha256 *sha, char hex[65]) {
  static const uint8_t padding[64] = {0x80};
  uint64_t bits = 8 * sha->length;
  uint8_t last[8];
  int i;
  for (i = 0; i < 8; i++) last[i] = (uint8_t)(bits >> (56 - 8 * i));
  skin_edge_sha256_add(sha, padding, 1 + (size_t)((119 - sha->length % 64) % 64));
  skin_edge_sha256_add(sha, last, 8);
  for (i = 0; i < 64; i++) hex[i] = "0123456789abcdef"[sha->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
  hex[64] = 0;
}

/* ---- JSON: a text is a value within the file; the whole was checked once, so that reading it need not ---- */

typedef struct {
  const char *p, *end;
} se_text;

static const char *se_space(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
  return p;
}

static int se_digit(const char *p, const char *end) { return p < end && *p >= '0' && *p <= '9'; }

/* The end of the string that begins at p, NULL where there is none. */
static const char *se_skip_string(const char *p, const char *end) {
  if (p == end || *p != '"') return NULL;
  for (p++; p < end && *p != '"'; p++) {
    if ((unsigned char)*p < 0x20) return NULL;
    if (*p == '\\' && (++p == end || !memchr("\"\\/bfnrtu", *p, 9))) return NULL;
  }
  return p < end ? p + 1 : NULL;
}

static const char *se_skip_number(const char *p, const char *end) {
  if (p < end && *p == '-') p++;
  if (!se_digit(p, end)) return NULL;
  while (se_digit(p, end)) p++;
  if (p < end && *p == '.') {
    if (!se_digit(++p, end)) return NULL;
    while (se_digit(p, end)) p++;
  }
  if (p < end && (*p == 'e' || *p == 'E')) {
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    if (!se_digit(p, end)) return NULL;
    while (se_digit(p, end)) p++;
  }
  return p;
}

static const char *se_skip_word(const char *p, const char *end, const char *word) {
  size_t length = strlen(word);
  return (size_t)(end - p) >= length && memcmp(p, word, length) == 0 ? p + length : NULL;
}

/* The end of the value that begins at p, NULL where it is no JSON. */
static const char *se_skip_value(const char *p, const char *end, int depth) {
  char close;
  if (p == end || depth == 32) return NULL;
  if (*p == '"') return se_skip_string(p, end);
  if (*p == 't') return se_skip_word(p, end, "true");
  if (*p == 'f') return se_skip_word(p, end, "false");
  if (*p == 'n') return se_skip_word(p, end, "null");
  if (*p != '{' && *p != '[') return se_skip_number(p, end);
  close = *p == '{' ? '}' : ']';
  p = se_space(p + 1, end);
  if (p < end && *p == close) return p + 1;
  for (;;) {
    if (close == '}') {
      if (!(p = se_skip_string(p, end))) return NULL;
      p = se_space(p, end);
      if (p == end || *p != ':') return NULL;
      p = se_space(p + 1, end);
    }
    if (!(p = se_skip_value(p, end, depth + 1))) return NULL;
    p = se_space(p, end);
    if (p == end || (*p != ',' && *p != close)) return NULL;
    if (*p == close) return p + 1;
    p = se_space(p + 1, end);
  }
}

static int se_is(se_text value, const char *text) {
  size_t length = strlen(text);
  return (size_t)(value.end - value.p) == length && memcmp(value.p, text, length) == 0;
}

/* The next item of an array or member of an object; *at begins as the whole value. 0 at the end. */
static int se_next(se_text *at, se_text *key, se_text *item) {
  const char *p = se_space(at->p + 1, at->end); /* behind the bracket or the comma */
  if (p >= at->end || *p == ']' || *p == '}') return 0;
  if (key) {
    key->p = p;
    key->end = p = se_skip_string(p, at->end);
    p = se_space(se_space(p, at->end) + 1, at->end);
  }
  item->p = p;
  item->end = se_skip_value(p, at->end, 0);
  at->p = se_space(item->end, at->end);
  return 1;
}

/* A member of an object, which must be there once. */
static int se_get(se_text object, const char *name, se_text *value) {
  se_text key, item;
  int found = 0;
  if (*object.p != '{') return 0;
  while (se_next(&object, &key, &item))
    if (key.end - key.p == (ptrdiff_t)strlen(name) + 2 && memcmp(key.p + 1, name, strlen(name)) == 0) {
      *value = item;
      found++;
    }
  return found == 1;
}

static int se_get_array(se_text object, const char *name, se_text *value) {
  return se_get(object, name, value) && *value->p == '[';
}

static int se_hex4(const char *p, const char *end, uint32_t *code) {
  int i;
  *code = 0;
  if (end - p < 4) return 0;
  for (i = 0; i < 4; i++) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *digit = (const char *)memchr(digits, p[i], 32);
    if (!digit) return 0;
    *code = *code << 4 | (uint32_t)(digit - digits) % 16;
  }
  return 1;
}

/* One character of a string, escapes undone, as 1 to 4 bytes of UTF-8. How many; 0 for nonsense. Control characters
 * become spaces: what is read here is shown. */
static int se_character(const char **at, const char *end, char out[4]) {
  const char *p = *at;
  uint32_t code, low;
  int length, i;
  *at = p + 1;
  out[0] = *p;
  if (*p != '\\') return 1;
  *at = p + 2;
  out[0] = p[1];
  if (p[1] == '"' || p[1] == '\\' || p[1] == '/') return 1;
  out[0] = ' ';
  if (p[1] != 'u') return p[1] && strchr("bfnrt", p[1]);
  if (!se_hex4(p + 2, end, &code)) return 0;
  *at = p + 6;
  if (code >= 0xd800 && code < 0xdc00) {
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u' || !se_hex4(p + 8, end, &low) || low < 0xdc00 || low > 0xdfff)
      return 0;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    *at = p + 12;
  } else if (code >= 0xdc00 && code < 0xe000) {
    return 0;
  }
  if (code < 0x80) return out[0] = (char)(code < 0x20 ? ' ' : code), 1;
  length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (i = length - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
  out[0] = (char)((0xf00 >> length & 0xff) | code);
  return length;
}

static skin_edge_status se_string(se_text value, char *out, size_t size) {
  const char *p;
  size_t used = 0;
  if (*value.p != '"') return SKIN_EDGE_MALFORMED;
  for (p = value.p + 1; p < value.end - 1;) {
    char bytes[4];
    int length = se_character(&p, value.end - 1, bytes);
    if (length == 0) return SKIN_EDGE_MALFORMED;
    if (used + (size_t)length >= size) return SKIN_EDGE_TOO_LARGE;
    memcpy(out + used, bytes, (size_t)length);
    used += (size_t)length;
  }
  out[used] = 0;
  return used > 0 ? SKIN_EDGE_OK : SKIN_EDGE_MALFORMED;
}

static skin_edge_status se_get_string(se_text object, const char *name, char *out, size_t size) {
  se_text value;
  return se_get(object, name, &value) ? se_string(value, out, size) : SKIN_EDGE_MALFORMED;
}

/* 256-bit integers, the lowest 32 bits first: enough for the numbers of a contract. */
static void se_multiply(uint32_t big[8], uint32_t by) {
  uint64_t carry = 0;
  int i;
  for (i = 0; i < 8; i++) {
    carry += (uint64_t)big[i] * by;
    big[i] = (uint32_t)carry;
    carry >>= 32;
  }
}

static int se_compare(const uint32_t a[8], const uint32_t b[8]) {
  int i;
  for (i = 7; i >= 0; i--)
    if (a[i] != b[i]) return a[i] > b[i] ? 1 : -1;
  return 0;
}

static void se_subtract(uint32_t a[8], const uint32_t b[8]) {
  uint64_t borrow = 0;
  int i;
  for (i = 0; i < 8; i++) {
    uint64_t difference = (uint64_t)a[i] - b[i] - borrow;
    a[i] = (uint32_t)difference;
    borrow = difference >> 63;
  }
}

/* The double nearest to digits * 10^exponent, ties to even, for digits > 0 and exponents of -40 to 40. Not strtod,
 * which takes the language of the system for its point, and on microcontrollers allocates. */
static double se_nearest(uint64_t digits, int exponent) {
  uint32_t n[8] = {0}, d[8] = {1}, twice[8];
  uint64_t quotient = 0;
  int power = 0, i;
  double result;
  n[0] = (uint32_t)digits;
  n[1] = (uint32_t)(digits >> 32);
  for (; exponent > 0; exponent--) se_multiply(n, 10);
  for (; exponent < 0; exponent++) se_multiply(d, 10);
  for (; se_compare(n, d) < 0; power--) se_multiply(n, 2);
  memcpy(twice, d, sizeof d);
  for (se_multiply(twice, 2); se_compare(n, twice) >= 0; power++) se_multiply(d, 2), se_multiply(twice, 2);
  for (i = 0; i < 53; i++) { /* 1 <= n / d < 2: its first 53 binary digits */
    quotient *= 2;
    if (se_compare(n, d) >= 0) quotient++, se_subtract(n, d);
    se_multiply(n, 2);
  }
  i = se_compare(n, d); /* the rest against a half */
  if (i > 0 || (i == 0 && quotient % 2 == 1)) quotient++;
  result = (double)quotient;
  for (power -= 52; power < 0; power++) result /= 2;
  for (; power > 0; power--) result *= 2;
  return result;
}

static int se_number(se_text value, double *number) {
  const char *p = value.p;
  uint64_t digits = 0;
  int exponent = 0, behind_point = 0, negative = *p == '-';
  if (!negative && !se_digit(p, value.end)) return 0;
  for (p += negative; p < value.end && *p != 'e' && *p != 'E'; p++) {
    if (*p == '.') {
      behind_point = 1;
    } else {
      if (digits > (UINT64_MAX - 9) / 10) return 0;
      digits = 10 * digits + (uint64_t)(*p - '0');
      exponent -= behind_point;
    }
  }
  if (p < value.end) { /* at the e */
    int sign = 1, power = 0;
    if (*++p == '-') sign = -1;
    if (*p == '-' || *p == '+') p++;
    for (; p < value.end; p++)
      if ((power = 10 * power + (*p - '0')) > 1000) return 0;
    exponent += sign * power;
  }
  if (digits && (exponent < -40 || exponent > 40)) return 0;
  *number = digits ? se_nearest(digits, exponent) : 0;
  if (negative) *number = -*number;
  return 1;
}

static int se_get_number(se_text object, const char *name, double least, double most, double *number) {
  se_text value;
  return se_get(object, name, &value) && se_number(value, number) && *number >= least && *number <= most;
}

/* An array of `count` numbers and no more. */
static int se_numbers(se_text array, double *numbers, int count) {
  se_text item;
  int i = 0;
  if (*array.p != '[') return 0;
  while (se_next(&array, NULL, &item))
    if (i == count || !se_number(item, &numbers[i++])) return 0;
  return i == count;
}

/* ---- The model file ---- */

static uint32_t se_little16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t se_little32(const uint8_t *p) { return se_little16(p) | se_little16(p + 2) << 16; }
static uint32_t se_large16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static uint32_t se_large32(const uint8_t *p) { return se_large16(p) << 16 | se_large16(p + 2); }

/* Finds both members of the archive and where it begins. */
static int se_archive(const uint8_t *file, size_t length, se_text *labels, se_text *contract, size_t *start) {
  const uint8_t *end, *p;
  uint32_t count;
  labels->p = contract->p = NULL;
  *start = length;
  if (length < 22 + 8 || memcmp(file + 4, "TFL3", 4) != 0) return 0;
  end = file + length - 22;
  if (memcmp(end, "PK\5\6", 4) != 0 || se_little16(end + 20) != 0 || se_little32(end + 16) > length - 22) return 0;
  p = file + se_little32(end + 16);
  for (count = se_little16(end + 10); count > 0; count--) {
    uint32_t name_length, size, at, head;
    se_text member, *found = NULL;
    if (end - p < 46 || memcmp(p, "PK\1\2", 4) != 0) return 0;
    name_length = se_little16(p + 28);
    size = se_little32(p + 24);
    at = se_little32(p + 42);
    if ((size_t)(end - p) < (size_t)46 + name_length + se_little16(p + 30) + se_little16(p + 32)) return 0;
    if (at > length - 30 || memcmp(file + at, "PK\3\4", 4) != 0) return 0;
    if (at < *start) *start = at;
    member.p = (const char *)p + 46;
    member.end = member.p + name_length;
    if (se_is(member, "labels.txt")) found = labels;
    if (se_is(member, "metadata.json")) found = contract;
    if (found) {
      head = 30 + se_little16(file + at + 26) + se_little16(file + at + 28);
      if (found->p || se_little16(p + 10) != 0 || (se_little16(p + 8) & 1) || se_little32(p + 20) != size) return 0;
      if (head > length - at || size > length - at - head) return 0;
      found->p = (const char *)file + at + head;
      found->end = found->p + size;
    }
    p += 46 + name_length + se_little16(p + 30) + se_little16(p + 32);
  }
  return labels->p && contract->p;
}

static int se_sealed(const uint8_t *network, size_t length, se_text labels, se_text contract, const char *seal) {
  skin_edge_sha256 sha;
  char hex[65];
  const char *p, *from = contract.p;
  skin_edge_sha256_begin(&sha);
  skin_edge_sha256_add(&sha, network, length);
  skin_edge_sha256_add(&sha, labels.p, (size_t)(labels.end - labels.p));
  for (p = contract.p; contract.end - p >= 64; p++)
    if (*p == *seal && memcmp(p, seal, 64) == 0) {
      skin_edge_sha256_add(&sha, from, (size_t)(p - from));
      skin_edge_sha256_add(&sha, "0000000000000000000000000000000000000000000000000000000000000000", 64);
      p += 63;
      from = p + 1;
    }
  skin_edge_sha256_add(&sha, from, (size_t)(contract.end - from));
  skin_edge_sha256_end(&sha, hex);
  return memcmp(hex, seal, 64) == 0;
}

/* The steps of format_version 4 to 6. A value of NULL is the model's own. */
static const struct {
  int step;
  const char *key, *value;
} se_steps[] = {
    {0, "step", "\"decode\""},
    {0, "scaled", "\"none\""},
    {1, "step", "\"orient\""},
    {1, "by", "\"EXIF orientation\""},
    {1, "to", "\"upright\""},
    {2, "step", "\"colour\""},
    {2, "space", "\"sRGB\""},
    {2, "bits", "8"},
    {2, "channels", "\"RGB\""},
    {2, "profile", "\"embedded ICC profile applied\""},
    {2, "alpha", "\"laid over white\""},
    {3, "step", "\"crop\""},
    {3, "kind", "\"none\""},
    {4, "step", "\"resize\""},
    {4, "height", NULL},
    {4, "width", NULL},
    {4, "aspect", "\"stretched\""},
    {4, "kernel", "\"bilinear\""},
    {4, "antialias", "true"},
    {4, "arithmetic", "\"integer\""},
    {4, "passes", "\"horizontal, then vertical\""},
    {5, "step", "\"normalize\""},
    {5, "formula", "\"(pixel - mean) / std\""},
    {5, "mean", NULL},
    {5, "std", NULL},
};

static skin_edge_status se_read_steps(se_text contract, skin_edge_model *model) {
  const int rows = (int)(sizeof se_steps / sizeof *se_steps);
  se_text steps, step, key, value, note;
  double height, width;
  int position = 0, i;
  if (!se_get_array(contract, "preprocessing", &steps)) return SKIN_EDGE_MALFORMED;
  for (; se_next(&steps, NULL, &step); position++) {
    int members = 0, expected = 0;
    if (*step.p != '{') return SKIN_EDGE_MALFORMED;
    for (i = 0; i < rows; i++)
      if (se_steps[i].step == position) {
        expected++;
        if (!se_get(step, se_steps[i].key, &value)) return SKIN_EDGE_OTHER_STEPS;
        if (se_steps[i].value && !se_is(value, se_steps[i].value)) return SKIN_EDGE_OTHER_STEPS;
      }
    expected += se_get(step, "note", &note);
    if (position == 4 && (!se_get_number(step, "height", 1, 4096, &height) ||
                          !se_get_number(step, "width", 1, 4096, &width)))
      return SKIN_EDGE_MALFORMED;
    if (position == 5) {
      if (!se_get(step, "mean", &value) || !se_numbers(value, model->mean, 3)) return SKIN_EDGE_MALFORMED;
      if (!se_get(step, "std", &value) || !se_numbers(value, model->std, 3)) return SKIN_EDGE_MALFORMED;
      for (i = 0; i < 3; i++)
        if (!(model->std[i] > 0)) return SKIN_EDGE_MALFORMED;
    }
    while (se_next(&step, &key, &value)) members++;
    if (members != expected) return SKIN_EDGE_OTHER_STEPS;
  }
  if (position != 6) return SKIN_EDGE_OTHER_STEPS;
  model->input.rows = (uint32_t)height;
  model->input.columns = (uint32_t)width;
  return height == model->input.rows && width == model->input.columns ? SKIN_EDGE_OK : SKIN_EDGE_MALFORMED;
}

static skin_edge_status se_read_tensor(se_text object, skin_edge_tensor *tensor) {
  se_text type, value;
  double zero_point = 0;
  if (!se_get(object, "dtype", &type)) return SKIN_EDGE_MALFORMED;
  if (se_is(type, "\"uint8\"")) tensor->type = SKIN_EDGE_UINT8;
  else if (se_is(type, "\"int8\"")) tensor->type = SKIN_EDGE_INT8;
  else if (se_is(type, "\"float32\"")) tensor->type = SKIN_EDGE_FLOAT32;
  else return SKIN_EDGE_MALFORMED;
  tensor->scale = 0;
  if (tensor->type != SKIN_EDGE_FLOAT32 || se_get(object, "scale", &value))
    if (!se_get_number(object, "scale", 1e-30, 1e30, &tensor->scale) ||
        !se_get_number(object, "zero_point", -128, 255, &zero_point))
      return SKIN_EDGE_MALFORMED;
  tensor->zero_point = (int32_t)zero_point;
  return tensor->zero_point == zero_point ? SKIN_EDGE_OK : SKIN_EDGE_MALFORMED;
}

static skin_edge_status se_read_input(se_text contract, skin_edge_model *model) {
  se_text input, shape, bytes;
  double sizes[4];
  skin_edge_status status;
  if (!se_get(contract, "input", &input) || *input.p != '{') return SKIN_EDGE_MALFORMED;
  if ((status = se_read_tensor(input, &model->input)) != SKIN_EDGE_OK) return status;
  if (!se_get(input, "shape", &shape) || !se_numbers(shape, sizes, 4)) return SKIN_EDGE_MALFORMED;
  if (sizes[0] != 1 || sizes[1] != model->input.rows || sizes[2] != model->input.columns || sizes[3] != 3)
    return SKIN_EDGE_MALFORMED;
  if (!se_get(input, "bytes", &bytes)) return SKIN_EDGE_MALFORMED;
  model->bytes_unchanged = se_is(bytes, "\"unchanged\"");
  if (model->bytes_unchanged) return model->input.type == SKIN_EDGE_UINT8 ? SKIN_EDGE_OK : SKIN_EDGE_MALFORMED;
  if (!se_is(bytes, model->input.scale > 0 ? "\"quantized\"" : "\"normalized\"")) return SKIN_EDGE_OTHER_STEPS;
  return SKIN_EDGE_OK;
}

static skin_edge_status se_read_labels(se_text contract, se_text listed, skin_edge_model *model) {
  se_text labels, label, malignant;
  skin_edge_status status;
  uint32_t i, count = 0;
  if (!se_get_array(contract, "labels", &labels)) return SKIN_EDGE_MALFORMED;
  while (se_next(&labels, NULL, &label)) {
    skin_edge_label *own = &model->labels[count];
    size_t length;
    if (*label.p != '{' || !se_get(label, "malignant", &malignant)) return SKIN_EDGE_MALFORMED;
    if (count == SKIN_EDGE_MAX_LABELS) return SKIN_EDGE_TOO_LARGE;
    if ((status = se_get_string(label, "code", own->code, sizeof own->code)) != SKIN_EDGE_OK) return status;
    if ((status = se_get_string(label, "name", own->name, sizeof own->name)) != SKIN_EDGE_OK) return status;
    if (*malignant.p != 't' && *malignant.p != 'f' && *malignant.p != 'n') return SKIN_EDGE_MALFORMED;
    own->malignant = *malignant.p == 't' ? 1 : *malignant.p == 'f' ? 0 : -1;
    for (i = 0; i < count; i++)
      if (strcmp(model->labels[i].code, own->code) == 0) return SKIN_EDGE_MALFORMED;
    length = strlen(own->code); /* and the same line in labels.txt */
    if ((size_t)(listed.end - listed.p) <= length) return SKIN_EDGE_MALFORMED;
    if (memcmp(listed.p, own->code, length) != 0) return SKIN_EDGE_MALFORMED;
    listed.p += length;
    if (*listed.p++ != '\n') return SKIN_EDGE_MALFORMED;
    count++;
  }
  model->label_count = count;
  return count > 0 && listed.p == listed.end ? SKIN_EDGE_OK : SKIN_EDGE_MALFORMED;
}

static skin_edge_status se_read_outputs(se_text contract, int version, skin_edge_model *model) {
  se_text outputs, output, name, shape;
  skin_edge_status status;
  int first = 0;
  double sizes[4];
  if (!se_get_array(contract, "outputs", &outputs)) return SKIN_EDGE_MALFORMED;
  model->probabilities.rows = model->map.rows = model->outlier_score.rows = 0;
  while (se_next(&outputs, NULL, &output)) {
    if (!se_get(output, "name", &name) || !se_get(output, "shape", &shape)) return SKIN_EDGE_MALFORMED;
    if (version == 6 && first++ == 0) model->logits = se_is(name, "\"logits\"");
    if (se_is(name, model->logits ? "\"logits\"" : "\"probabilities\"")) {
      if ((status = se_read_tensor(output, &model->probabilities)) != SKIN_EDGE_OK) return status;
      if (!se_numbers(shape, sizes, 2) || sizes[0] != 1 || sizes[1] != model->label_count) return SKIN_EDGE_MALFORMED;
      model->probabilities.rows = 1;
      model->probabilities.columns = model->label_count;
    } else if (se_is(name, "\"class_activation_map\"")) {
      if ((status = se_read_tensor(output, &model->map)) != SKIN_EDGE_OK) return status;
      if (!se_numbers(shape, sizes, 4) || !(sizes[1] >= 1 && sizes[1] <= 4096 && sizes[2] >= 1 && sizes[2] <= 4096))
        return SKIN_EDGE_MALFORMED;
      if (sizes[0] != 1 || sizes[3] != model->label_count) return SKIN_EDGE_MALFORMED;
      model->map.rows = (uint32_t)sizes[1];
      model->map.columns = (uint32_t)sizes[2];
    } else if (se_is(name, "\"outlier_score\"")) {
      if ((status = se_read_tensor(output, &model->outlier_score)) != SKIN_EDGE_OK) return status;
      if (!se_numbers(shape, sizes, 2) || sizes[0] != 1 || sizes[1] != 1) return SKIN_EDGE_MALFORMED;
      model->outlier_score.rows = model->outlier_score.columns = 1;
    }
  }
#ifndef SKIN_EDGE_LOGITS
  if (model->logits) return SKIN_EDGE_OTHER_VERSION;
#endif
  return model->probabilities.rows ? SKIN_EDGE_OK : SKIN_EDGE_MALFORMED;
}

static skin_edge_status se_read_thresholds(se_text contract, skin_edge_model *model) {
  se_text rows, row, classes, code;
  skin_edge_status status;
  uint32_t i;
  if (!se_get_array(contract, "thresholds", &rows)) return SKIN_EDGE_MALFORMED;
  for (model->threshold_count = 0; se_next(&rows, NULL, &row); model->threshold_count++) {
    skin_edge_threshold *own = &model->thresholds[model->threshold_count];
    if (model->threshold_count == SKIN_EDGE_MAX_THRESHOLDS) return SKIN_EDGE_TOO_LARGE;
    if (*row.p != '{' || !se_get_number(row, "threshold", 0, 1, &own->threshold) ||
        !se_get_number(row, "borderline_within", 0, 1e30, &own->borderline_within))
      return SKIN_EDGE_MALFORMED;
    if ((status = se_get_string(row, "name", own->name, sizeof own->name)) != SKIN_EDGE_OK) return status;
    if (!se_get_array(row, "classes", &classes)) return SKIN_EDGE_MALFORMED;
    memset(own->classes, 0, sizeof own->classes);
    while (se_next(&classes, NULL, &code)) {
      char text[SKIN_EDGE_TEXT];
      if (se_string(code, text, sizeof text) != SKIN_EDGE_OK) return SKIN_EDGE_MALFORMED;
      for (i = 0; i < model->label_count && strcmp(model->labels[i].code, text) != 0; i++) {}
      if (i == model->label_count) return SKIN_EDGE_MALFORMED;
      own->classes[i / 8] = (uint8_t)(own->classes[i / 8] | 1u << i % 8);
    }
  }
  return SKIN_EDGE_OK;
}

/* What thresholds mean: a contract that says anything else is followed by nobody who reads this one. */
static skin_edge_status se_read_rules(se_text contract, skin_edge_model *model) {
  static const char *const rules[][2] = {
      {"score", "\"sum of the probabilities of a threshold's classes, in the order of labels, float64\""},
      {"refer", "\"score >= threshold\""},
      {"below", "\"score < threshold\""},
      {"borderline", "\"|score - threshold| < borderline_within\""},
      {"ties", "\"the first label\""}};
  se_text decisions, limits, value;
  double pixels;
  size_t i;
  if (!se_get(contract, "decisions", &decisions)) return SKIN_EDGE_MALFORMED;
  for (i = 0; i < sizeof rules / sizeof *rules; i++)
    if (!se_get(decisions, rules[i][0], &value) || !se_is(value, rules[i][1])) return SKIN_EDGE_OTHER_STEPS;
  if (!se_get(contract, "limits", &limits) || !se_get_number(limits, "max_pixels", 1, 1e15, &pixels))
    return SKIN_EDGE_MALFORMED;
  model->max_pixels = (uint64_t)pixels;
  return SKIN_EDGE_OK;
}

static const char *const se_features[] = {"luma", "black", "white", "clipped", "red_green", "blue_green",
                                          "contrast", "detail", "ridges", "outlier_score"};

const char *skin_edge_feature_name(skin_edge_feature feature) {
  return (unsigned)feature <= SKIN_EDGE_OUTLIER_SCORE ? se_features[feature] : "";
}

/* A limit that may be missing. 0: it is no number. */
static int se_read_limit(se_text row, const char *name, int *has, double *limit) {
  se_text value;
  *has = se_get(row, name, &value) && !se_is(value, "null");
  return !*has || se_number(value, limit);
}

static skin_edge_status se_read_check(se_text row, skin_edge_check *check) {
  se_text name, remedy;
  char feature[SKIN_EDGE_TEXT];
  skin_edge_status status;
  int i;
  if (*row.p != '{' || !se_get(row, "feature", &name) || se_string(name, feature, sizeof feature) != SKIN_EDGE_OK)
    return SKIN_EDGE_MALFORMED;
  for (i = 0; i <= SKIN_EDGE_OUTLIER_SCORE && strcmp(se_features[i], feature) != 0; i++) {}
  if (i > SKIN_EDGE_OUTLIER_SCORE) return SKIN_EDGE_OTHER_STEPS;
  check->feature = (skin_edge_feature)i;
  if (!se_read_limit(row, "below", &check->has_below, &check->below)) return SKIN_EDGE_MALFORMED;
  if (!se_read_limit(row, "above", &check->has_above, &check->above)) return SKIN_EDGE_MALFORMED;
  if (!check->has_below && !check->has_above) return SKIN_EDGE_MALFORMED;
  if ((status = se_get_string(row, "reason", check->reason, sizeof check->reason)) != SKIN_EDGE_OK) return status;
  if ((status = se_get_string(row, "text", check->text, sizeof check->text)) != SKIN_EDGE_OK) return status;
  check->remedy[0] = 0;
  if (se_get(row, "remedy", &remedy) && se_is(remedy, "\"\"")) return SKIN_EDGE_OK;
  return se_get_string(row, "remedy", check->remedy, sizeof check->remedy);
}

/* When a picture cannot be assessed, and which classes are possible: format_version 6. */
static skin_edge_status se_read_assessment(se_text contract, skin_edge_model *model) {
  se_text assessment, rows, row, possible, numbers;
  skin_edge_status status;
  double version;
  if (se_get(contract, "assessment", &assessment)) {
    if (*assessment.p != '{' || !se_get_number(assessment, "version", -1e30, 1e30, &version)) return SKIN_EDGE_MALFORMED;
    if (version != 1) return SKIN_EDGE_OTHER_VERSION;
    if (!se_get_array(assessment, "checks", &rows)) return SKIN_EDGE_MALFORMED;
    while (se_next(&rows, NULL, &row)) {
      skin_edge_check *own = &model->checks[model->check_count];
      if (model->check_count == SKIN_EDGE_MAX_CHECKS) return SKIN_EDGE_TOO_LARGE;
      if ((status = se_read_check(row, own)) != SKIN_EDGE_OK) return status;
      if (own->feature == SKIN_EDGE_OUTLIER_SCORE && !model->outlier_score.rows) return SKIN_EDGE_MALFORMED;
      model->check_count++;
    }
  }
  if (se_get(contract, "possible", &possible)) {
    if (!se_get_array(possible, "thresholds", &numbers)) return SKIN_EDGE_MALFORMED;
    if (!se_numbers(numbers, model->possible, (int)model->label_count)) return SKIN_EDGE_MALFORMED;
    model->has_possible = 1;
  }
  return SKIN_EDGE_OK;
}

skin_edge_status skin_edge_open(const void *file, size_t length, skin_edge_model *model) {
  const uint8_t *bytes = (const uint8_t *)file;
  se_text labels, text, contract, value;
  const char *end;
  skin_edge_status status;
  double version;
  size_t start;
  if (!bytes || !se_archive(bytes, length, &labels, &text, &start)) return SKIN_EDGE_NOT_A_MODEL;
  contract.p = se_space(text.p, text.end);
  end = se_skip_value(contract.p, text.end, 0);
  if (!end || *contract.p != '{' || se_space(end, text.end) != text.end) return SKIN_EDGE_MALFORMED;
  contract.end = end;
  if (!se_get(contract, "format", &value) || !se_is(value, "\"skin-edge-model\"")) return SKIN_EDGE_NOT_A_MODEL;
  if (!se_get_number(contract, "format_version", 4, 6, &version) || (version != 4 && version != 5 && version != 6))
    return SKIN_EDGE_OTHER_VERSION;
  model->logits = version == 5;
  if (!se_get(contract, "seal", &value) || value.end - value.p != 66 || *value.p != '"') return SKIN_EDGE_BROKEN_SEAL;
  if (!se_sealed(bytes, start, labels, text, value.p + 1)) return SKIN_EDGE_BROKEN_SEAL;
  if (se_get(contract, "metadata", &value)) return SKIN_EDGE_NEEDS_PATIENT;
  if ((status = se_get_string(contract, "notice", model->notice, sizeof model->notice)) != SKIN_EDGE_OK) return status;
  if ((status = se_read_steps(contract, model)) != SKIN_EDGE_OK) return status;
  if ((status = se_read_input(contract, model)) != SKIN_EDGE_OK) return status;
  if ((status = se_read_labels(contract, labels, model)) != SKIN_EDGE_OK) return status;
  if ((status = se_read_outputs(contract, (int)version, model)) != SKIN_EDGE_OK) return status;
  if ((status = se_read_thresholds(contract, model)) != SKIN_EDGE_OK) return status;
  model->check_count = 0;
  model->has_possible = 0;
  if (version == 6 && (status = se_read_assessment(contract, model)) != SKIN_EDGE_OK) return status;
  return se_read_rules(contract, model);
}

/* ---- What a picture's file says beside its pixels ---- */

int skin_edge_exif_orientation(const void *exif, size_t length) {
  const uint8_t *p = (const uint8_t *)exif, *entry;
  uint32_t (*number16)(const uint8_t *) = se_little16, (*number32)(const uint8_t *) = se_little32;
  uint32_t at, count, value;
  if (length >= 6 && memcmp(p, "Exif\0\0", 6) == 0) p += 6, length -= 6;
  if (length < 8) return 1;
  if (p[0] == 'M' && p[1] == 'M') number16 = se_large16, number32 = se_large32;
  else if (p[0] != 'I' || p[1] != 'I') return 1;
  at = number32(p + 4);
  if (number16(p + 2) != 42 || at > length - 2) return 1;
  for (count = number16(p + at), entry = p + at + 2; count > 0; count--, entry += 12) {
    if (p + length - entry < 12) return 1;
    if (number16(entry) != 0x0112) continue;
    if (number32(entry + 4) != 1 || (number16(entry + 2) != 3 && number16(entry + 2) != 4)) return 1;
    value = number16(entry + 2) == 3 ? number16(entry + 8) : number32(entry + 8);
    return value >= 1 && value <= 8 ? (int)value : 1;
  }
  return 1;
}

static int se_jpeg_orientation(const uint8_t *p, size_t length) {
  size_t at = 2, size;
  while (length - at >= 4 && p[at] == 0xff) {
    uint8_t marker = p[at + 1];
    if (marker == 0xff) { /* a fill byte */
      at++;
      continue;
    }
    if (marker == 0xda || marker == 0xd9) return 1; /* the pixels, or the end */
    size = 2 + (size_t)se_large16(p + at + 2);
    if (size > length - at) return 1;
    if (marker == 0xe1 && size >= 10 && memcmp(p + at + 4, "Exif\0\0", 6) == 0)
      return skin_edge_exif_orientation(p + at + 4, size - 4);
    at += size;
  }
  return 1;
}

static int se_png_orientation(const uint8_t *p, size_t length) {
  size_t at = 8, size;
  while (length - at >= 12) {
    size = se_large32(p + at);
    if (size > length - at - 12) return 1;
    if (memcmp(p + at + 4, "eXIf", 4) == 0) return skin_edge_exif_orientation(p + at + 8, size);
    at += size + 12;
  }
  return 1;
}

int skin_edge_orientation(const void *file, size_t length) {
  const uint8_t *p = (const uint8_t *)file;
  if (length >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0) return se_png_orientation(p, length);
  if (length >= 3 && memcmp(p, "\xff\xd8\xff", 3) == 0) return se_jpeg_orientation(p, length);
  return 1;
}

/* Whether "srgb" stands in the text of a description, letters of `step` bytes each, in any case. */
static int se_names_srgb(const uint8_t *p, size_t length, size_t step) {
  size_t at, i;
  for (at = 0; at + 3 * step < length; at++) {
    for (i = 0; i < 4; i++) {
      const uint8_t *letter = p + at + i * step;
      if ((*letter | 0x20) != "srgb"[i] || (step == 2 && (letter == p || letter[-1] != 0))) break;
    }
    if (i == 4) return 1;
  }
  return 0;
}

int skin_edge_profile_is_skipped(const void *profile, size_t length, int grey) {
  const uint8_t *p = (const uint8_t *)profile;
  uint32_t count, i;
  if (length < 132 || memcmp(p + 36, "acsp", 4) != 0) return 1;
  if (memcmp(p + 16, grey ? "GRAY" : "RGB ", 4) != 0) return 1;
  count = se_large32(p + 128);
  for (i = 0; i < count && 144 + 12 * (size_t)i <= length; i++) {
    const uint8_t *tag = p + 132 + 12 * (size_t)i;
    size_t at = se_large32(tag + 4), size = se_large32(tag + 8);
    if (memcmp(tag, "desc", 4) != 0) continue;
    if (at > length || size > length - at || size < 12) return 0;
    if (memcmp(p + at, "mluc", 4) == 0) return se_names_srgb(p + at + 8, size - 8, 2);
    return se_names_srgb(p + at + 12, size - 12, 1);
  }
  return 0;
}

/* ---- Pixels ---- */

static size_t se_pixel_bytes(skin_edge_layout layout) {
  switch (layout) {
    case SKIN_EDGE_GREY: return 1;
    case SKIN_EDGE_GREY_ALPHA: case SKIN_EDGE_GREY16: return 2;
    case SKIN_EDGE_RGB: case SKIN_EDGE_BGR: return 3;
    case SKIN_EDGE_RGBA: case SKIN_EDGE_BGRA: case SKIN_EDGE_CMYK: case SKIN_EDGE_GREY_ALPHA16: return 4;
    case SKIN_EDGE_RGB16: return 6;
    case SKIN_EDGE_RGBA16: return 8;
  }
  return 0;
}

static uint8_t se_over_white(uint32_t c, uint32_t alpha) {
  return (uint8_t)((c * alpha + 255 * (255 - alpha) + 127) / 255);
}

static uint16_t se_sample16(const uint8_t *p) {
  uint16_t value;
  memcpy(&value, p, 2);
  return value;
}

static void se_rgb(const uint8_t *p, skin_edge_layout layout, uint8_t *rgb) {
  int i;
  switch (layout) {
    case SKIN_EDGE_GREY: rgb[0] = rgb[1] = rgb[2] = p[0]; break;
    case SKIN_EDGE_GREY_ALPHA: rgb[0] = rgb[1] = rgb[2] = se_over_white(p[0], p[1]); break;
    case SKIN_EDGE_RGB: for (i = 0; i < 3; i++) rgb[i] = p[i]; break;
    case SKIN_EDGE_RGBA: for (i = 0; i < 3; i++) rgb[i] = se_over_white(p[i], p[3]); break;
    case SKIN_EDGE_BGR: for (i = 0; i < 3; i++) rgb[i] = p[2 - i]; break;
    case SKIN_EDGE_BGRA: for (i = 0; i < 3; i++) rgb[i] = se_over_white(p[2 - i], p[3]); break;
    case SKIN_EDGE_CMYK: for (i = 0; i < 3; i++) rgb[i] = (uint8_t)(((uint32_t)p[i] * p[3] + 127) / 255); break;
    case SKIN_EDGE_GREY16: rgb[0] = rgb[1] = rgb[2] = (uint8_t)((se_sample16(p) + 128u) / 257); break;
    case SKIN_EDGE_GREY_ALPHA16:
      rgb[0] = rgb[1] = rgb[2] = se_over_white(se_sample16(p) >> 8, se_sample16(p + 2) >> 8);
      break;
    case SKIN_EDGE_RGB16: for (i = 0; i < 3; i++) rgb[i] = (uint8_t)(se_sample16(p + 2 * i) >> 8); break;
    case SKIN_EDGE_RGBA16:
      for (i = 0; i < 3; i++) rgb[i] = se_over_white(se_sample16(p + 2 * i) >> 8, se_sample16(p + 6) >> 8);
      break;
  }
}

void skin_edge_upright_size(const skin_edge_picture *picture, uint32_t *width, uint32_t *height) {
  int exchanged = picture->orientation >= 5 && picture->orientation <= 8;
  *width = exchanged ? picture->height : picture->width;
  *height = exchanged ? picture->width : picture->height;
}

void skin_edge_upright_row(const skin_edge_picture *picture, uint32_t y, uint8_t *rgb) {
  const int orientation = picture->orientation;
  const uint32_t last_x = picture->width - 1, last_y = picture->height - 1;
  uint32_t x, width, height, source_x, source_y;
  skin_edge_upright_size(picture, &width, &height);
  for (x = 0; x < width; x++) {
    switch (orientation) { /* where the upright (x, y) is stored */
      case 2: source_x = last_x - x, source_y = y; break;
      case 3: source_x = last_x - x, source_y = last_y - y; break;
      case 4: source_x = x, source_y = last_y - y; break;
      case 5: source_x = y, source_y = x; break;
      case 6: source_x = y, source_y = last_y - x; break;
      case 7: source_x = last_x - y, source_y = last_y - x; break;
      case 8: source_x = last_x - y, source_y = x; break;
      default: source_x = x, source_y = y; break;
    }
    se_rgb((const uint8_t *)picture->pixels + source_y * picture->row_bytes +
               source_x * se_pixel_bytes(picture->layout), picture->layout, rgb + 3 * (size_t)x);
  }
}

/* ---- Resize: CONTRACT.md, section 5 ---- */

/* How many of n samples one of `to` is made of, at most. */
static size_t se_taps(uint32_t n, uint32_t to) { return n > to ? (size_t)((2 * (uint64_t)n + to - 1) / to) : 2; }

/* The weights k of output i: how many, from sample *first on. */
static uint32_t se_weights(uint32_t n, uint32_t to, uint32_t i, uint32_t *first, int32_t *weights) {
  const int64_t m = 2 * (int64_t)(n > to ? n : to), centre = (2 * (int64_t)i + 1) * n;
  const int64_t before = centre - m - to; /* v_x > 0 from x > before / (2 to) on */
  int64_t total = 0, v[2];
  uint32_t x, count;
  int pass;
  *first = before < 0 ? 0 : (uint32_t)(before / (2 * (int64_t)to)) + 1;
  for (pass = 0; pass < 2; pass++) /* the sum V, then the weights */
    for (x = *first, count = 0; x < n; x++, count++) {
      v[0] = (2 * (int64_t)x + 1) * to - centre;
      v[1] = m - (v[0] < 0 ? -v[0] : v[0]);
      if (v[1] <= 0) break;
      if (pass == 0) total += v[1];
      else weights[count] = (int32_t)((v[1] * (1 << 23) + total) / (2 * total));
    }
  return count;
}

static uint8_t se_byte(int32_t sum) {
  sum = sum < 0 ? 0 : sum >> 22; /* never below 0: weights and samples are not */
  return (uint8_t)(sum > 255 ? 255 : sum);
}

/* Where each part of the working memory begins, and what it takes as a whole. */
typedef struct {
  size_t across, first, count, down, ring, row, size;
} se_parts;

static int se_layout_memory(uint32_t width, uint32_t height, uint32_t to_width, uint32_t to_height, se_parts *parts) {
  uint64_t taps = se_taps(width, to_width), rows = se_taps(height, to_height), at = 0;
  if (!width || !height || !to_width || !to_height || to_width > 4096 || to_height > 4096) return 0;
  if (width > 1u << 28 || height > 1u << 28) return 0;
  parts->across = 0; /* offsets are below 2^50; int32 first, bytes last */
  at += 4 * taps * to_width;
  if (at > SIZE_MAX / 2) return 0;
  parts->first = (size_t)at;
  parts->count = (size_t)(at += 4 * (uint64_t)to_width);
  parts->down = (size_t)(at += 4 * (uint64_t)to_width);
  parts->ring = (size_t)(at += 4 * rows);
  parts->row = (size_t)(at += 3 * rows * to_width);
  at += 3 * (uint64_t)width + 3; /* and what aligning may cost */
  if (at > SIZE_MAX / 2) return 0;
  parts->size = (size_t)at;
  return 1;
}

size_t skin_edge_memory(uint32_t width, uint32_t height, uint32_t to_width, uint32_t to_height) {
  se_parts parts;
  return se_layout_memory(width, height, to_width, to_height, &parts) ? parts.size : 0;
}

skin_edge_status skin_edge_resize_rows(uint32_t width, uint32_t height, skin_edge_row row, void *user,
                                       uint32_t to_width, uint32_t to_height, uint8_t *rgb, void *memory,
                                       size_t memory_size) {
  const size_t taps = se_taps(width, to_width ? to_width : 1), rows = se_taps(height, to_height ? to_height : 1);
  const size_t line = 3 * (size_t)to_width;
  se_parts parts;
  int32_t *across, *down;
  uint32_t *first, *count;
  uint8_t *base, *ring, *source;
  uint32_t i, next = 0;
  size_t x, t;
  if (!se_layout_memory(width, height, to_width, to_height, &parts)) return SKIN_EDGE_NO_PICTURE;
  if (!memory || memory_size < parts.size) return SKIN_EDGE_SMALL_MEMORY;
  base = (uint8_t *)memory + (4 - (uintptr_t)memory % 4) % 4;
  across = (int32_t *)(void *)(base + parts.across);
  first = (uint32_t *)(void *)(base + parts.first);
  count = (uint32_t *)(void *)(base + parts.count);
  down = (int32_t *)(void *)(base + parts.down);
  ring = base + parts.ring;
  source = base + parts.row;
  for (i = 0; i < to_width; i++) count[i] = se_weights(width, to_width, i, &first[i], across + i * taps);
  for (i = 0; i < to_height; i++) {
    uint32_t top, used = se_weights(height, to_height, i, &top, down);
    for (; next < top + used; next++) { /* rows resized horizontally wait in the ring until none needs them */
      uint8_t *out = ring + next % rows * line;
      if (!row(user, next, source)) return SKIN_EDGE_NO_PICTURE;
      for (x = 0; x < to_width; x++) {
        const int32_t *k = across + x * taps;
        const uint8_t *p = source + 3 * (size_t)first[x];
        int32_t red = 1 << 21, green = 1 << 21, blue = 1 << 21;
        for (t = 0; t < count[x]; t++, p += 3) red += k[t] * p[0], green += k[t] * p[1], blue += k[t] * p[2];
        out[3 * x] = se_byte(red), out[3 * x + 1] = se_byte(green), out[3 * x + 2] = se_byte(blue);
      }
    }
    for (x = 0; x < line; x++) {
      int32_t sum = 1 << 21;
      for (t = 0; t < used; t++) sum += down[t] * ring[(top + t) % rows * line + x];
      *rgb++ = se_byte(sum);
    }
  }
  return SKIN_EDGE_OK;
}

static int se_picture_row(void *user, uint32_t y, uint8_t *rgb) {
  skin_edge_upright_row((const skin_edge_picture *)user, y, rgb);
  return 1;
}

skin_edge_status skin_edge_resize(const skin_edge_model *model, const skin_edge_picture *picture, uint8_t *rgb,
                                  void *memory, size_t memory_size) {
  skin_edge_picture copy = *picture;
  size_t pixel = se_pixel_bytes(picture->layout);
  uint32_t width, height;
  if (!picture->pixels || !picture->width || !picture->height || !pixel) return SKIN_EDGE_NO_PICTURE;
  if ((uint64_t)picture->width * picture->height > model->max_pixels) return SKIN_EDGE_MANY_PIXELS;
  if (picture->width > picture->row_bytes / pixel) return SKIN_EDGE_NO_PICTURE;
  skin_edge_upright_size(picture, &width, &height);
  return skin_edge_resize_rows(width, height, se_picture_row, &copy, model->input.columns, model->input.rows, rgb,
                               memory, memory_size);
}

/* ---- Whether a picture can be assessed: CONTRACT.md, section 12 ---- */

static int32_t se_divided(int64_t a, int64_t b) { /* rounded towards minus infinity, for b > 0 */
  return (int32_t)(a / b - (a % b < 0));
}

/* The sum of |G(i + apart) - G(i)| along each of `lines` lines of `length` pixels, which lie `step` bytes apart in a line,
 * and `stride` from line to line. */
static uint32_t se_differences(const uint8_t *green, uint32_t lines, uint32_t length, size_t stride, size_t step,
                               uint32_t apart) {
  uint32_t line, i, sum = 0; /* of at most 4,096 x 4,096 bytes */
  for (line = 0; line < lines; line++)
    for (i = 0; i + apart < length; i++) {
      const uint8_t *p = green + line * stride + i * step;
      int difference = p[apart * step] - p[0];
      sum += (uint32_t)(difference < 0 ? -difference : difference);
    }
  return sum;
}

static int32_t se_detail(const uint8_t *green, uint32_t lines, uint32_t length, size_t stride, size_t step) {
  const int64_t n = (int64_t)lines * length;
  const int64_t near = se_differences(green, lines, length, stride, step, 1);
  const int64_t far = se_differences(green, lines, length, stride, step, 4);
  return se_divided(1000 * near, far + n / 8 + 1);
}

/* Pixels that are darker by more than 20 than those 3 before and 3 behind them. */
static uint32_t se_ridges(const uint8_t *green, uint32_t lines, uint32_t length, size_t stride, size_t step) {
  uint32_t line, i, count = 0;
  for (line = 0; line < lines; line++)
    for (i = 3; i + 3 < length; i++) {
      const uint8_t *p = green + line * stride + i * step;
      count += *(p - 3 * step) - *p > 20 && p[3 * step] - *p > 20;
    }
  return count;
}

/* The smallest value of G that `percent` of the n pixels are at most. Its high half first, from their counts, then the low
 * one: whole counts would take a kilobyte of stack. */
static int32_t se_percentile(const uint8_t *green, int64_t n, const uint32_t high[16], int64_t percent) {
  uint32_t low[16];
  int64_t below = 0;
  int64_t i;
  int32_t first, last;
  for (first = 0; first < 15 && 100 * (below + high[first]) < percent * n; first++) below += high[first];
  memset(low, 0, sizeof low);
  for (i = 0; i < 3 * n; i += 3)
    if (green[i] >> 4 == first) low[green[i] & 15]++;
  for (last = 0; last < 15 && 100 * (below + low[last]) < percent * n; last++) below += low[last];
  return 16 * first + last;
}

void skin_edge_measure(const skin_edge_model *model, const uint8_t *rgb, skin_edge_features *features) {
  const uint32_t rows = model->input.rows, columns = model->input.columns;
  const int64_t n = (int64_t)rows * columns;
  const size_t row = 3 * (size_t)columns;
  const uint8_t *p, *green = rgb + 1;
  uint32_t sums[3] = {0, 0, 0}, high[16], black = 0, white = 0, clipped = 0, ridges;
  int64_t red, blue, total;
  int32_t across, down, *values = features->values;
  memset(high, 0, sizeof high);
  for (p = rgb; p < rgb + row * rows; p += 3) {
    sums[0] += p[0], sums[1] += p[1], sums[2] += p[2];
    high[p[1] >> 4]++;
    black += p[1] < 24;
    white += p[0] >= 250 && p[1] >= 250 && p[2] >= 250;
    clipped += p[0] >= 254 || p[1] >= 254 || p[2] >= 254;
  }
  total = (int64_t)sums[0] + sums[1] + sums[2] + 1;
  red = (int64_t)sums[0] - sums[1], blue = (int64_t)sums[2] - sums[1];
  across = se_detail(green, rows, columns, row, 3);
  down = se_detail(green, columns, rows, 3, row);
  ridges = se_ridges(green, rows, columns, row, 3) + se_ridges(green, columns, rows, 3, row);
  values[SKIN_EDGE_LUMA] = se_divided(77 * (int64_t)sums[0] + 150 * (int64_t)sums[1] + 29 * (int64_t)sums[2], n);
  values[SKIN_EDGE_BLACK] = se_divided(10000 * (int64_t)black, n);
  values[SKIN_EDGE_WHITE] = se_divided(10000 * (int64_t)white, n);
  values[SKIN_EDGE_CLIPPED] = se_divided(10000 * (int64_t)clipped, n);
  values[SKIN_EDGE_RED_GREEN] = se_divided(1000 * red, total);
  values[SKIN_EDGE_BLUE_GREEN] = se_divided(1000 * blue, total);
  values[SKIN_EDGE_CONTRAST] = se_percentile(green, n, high, 95) - se_percentile(green, n, high, 5);
  values[SKIN_EDGE_DETAIL] = across < down ? across : down;
  values[SKIN_EDGE_RIDGES] = se_divided(10000 * (int64_t)ridges, n);
  features->has_outlier_score = 0;
}

skin_edge_status skin_edge_score(const skin_edge_model *model, const void *value, skin_edge_features *features) {
  if (!model->outlier_score.rows) return SKIN_EDGE_NOT_MEASURED;
  skin_edge_real(&model->outlier_score, value, 1, &features->outlier_score);
  if (!(features->outlier_score - features->outlier_score == 0)) return SKIN_EDGE_NO_ANSWER; /* not finite */
  features->has_outlier_score = 1;
  return SKIN_EDGE_OK;
}

static int se_fails(const skin_edge_check *check, const skin_edge_features *features) {
  double value = check->feature == SKIN_EDGE_OUTLIER_SCORE ? (double)features->outlier_score
                                                           : (double)features->values[check->feature];
  return (check->has_below && value < check->below) || (check->has_above && value > check->above);
}

static skin_edge_status se_assess(const skin_edge_model *model, const skin_edge_features *features,
                                  skin_edge_answer *answer) {
  uint32_t i, r;
  for (i = 0; i < model->check_count; i++) {
    const skin_edge_check *check = &model->checks[i];
    if (!features || (check->feature == SKIN_EDGE_OUTLIER_SCORE && !features->has_outlier_score))
      return SKIN_EDGE_NOT_MEASURED;
    if (!se_fails(check, features)) continue;
    for (r = 0; r < answer->reason_count && strcmp(answer->reasons[r]->reason, check->reason) != 0; r++) {}
    if (r == answer->reason_count) answer->reasons[answer->reason_count++] = check;
  }
  answer->assessable = answer->reason_count == 0;
  return answer->assessable ? SKIN_EDGE_OK : SKIN_EDGE_REFUSED;
}

static size_t se_put(char *text, size_t size, size_t used, const char *more) {
  for (; *more && used + 1 < size; more++) text[used++] = *more;
  if (size) text[used] = 0;
  return used;
}

void skin_edge_refusal(const skin_edge_answer *answer, char *text, size_t size) {
  size_t used = se_put(text, size, 0, answer->reason_count ? "cannot assess: " : "");
  uint32_t i;
  for (i = 0; i < answer->reason_count; i++) {
    const skin_edge_check *own = answer->reasons[i];
    if (i) used = se_put(text, size, used, "; ");
    used = se_put(text, size, used, own->text);
    if (!*own->remedy) continue;
    used = se_put(text, size, used, " (");
    used = se_put(text, size, used, own->remedy);
    used = se_put(text, size, used, ")");
  }
}

/* ---- Tensors and decisions ---- */

static double se_floor(double x) { /* of what fits an int64 by far */
  double whole = (double)(int64_t)x;
  return whole > x ? whole - 1 : whole;
}

static double se_quantized(const skin_edge_tensor *tensor, int byte, float real) {
  double least = tensor->type == SKIN_EDGE_INT8 ? -128 : 0, own = byte + least;
  double steps = real / tensor->scale + tensor->zero_point, apart = steps - own;
  double nearest = apart <= 0.501 && apart >= -0.501 ? own : se_floor(steps + 0.5);
  return nearest < least ? least : nearest > least + 255 ? least + 255 : nearest;
}

void skin_edge_fill_tensor(const skin_edge_model *model, const uint8_t *rgb, void *tensor) {
  const size_t count = 3 * (size_t)model->input.rows * model->input.columns;
  size_t i;
  if (model->bytes_unchanged) {
    if (tensor != rgb) memcpy(tensor, rgb, count);
    return;
  }
  for (i = 0; i < count; i++) {
    float real = (float)((rgb[i] - model->mean[i % 3]) / model->std[i % 3]);
    double quantized = model->input.scale > 0 ? se_quantized(&model->input, rgb[i], real) : 0;
    if (model->input.type == SKIN_EDGE_FLOAT32) memcpy((uint8_t *)tensor + 4 * i, &real, 4);
    else if (model->input.type == SKIN_EDGE_INT8) ((int8_t *)tensor)[i] = (int8_t)quantized;
    else ((uint8_t *)tensor)[i] = (uint8_t)quantized;
  }
}

void skin_edge_real(const skin_edge_tensor *tensor, const void *values, size_t count, float *real) {
  size_t i;
  for (i = 0; i < count; i++) {
    if (tensor->type == SKIN_EDGE_FLOAT32) memcpy(&real[i], (const uint8_t *)values + 4 * i, 4);
    else if (tensor->type == SKIN_EDGE_INT8)
      real[i] = (float)(((const int8_t *)values)[i] - tensor->zero_point) * (float)tensor->scale;
    else real[i] = (float)(((const uint8_t *)values)[i] - tensor->zero_point) * (float)tensor->scale;
  }
}

/* e to the power of x, for x <= 0: 2^n e^r with |r| <= ln(2) / 2, by the series of e^r. Within 4 units in the last
 * place; not libm's, which a bare chip may not have. */
static double se_exp(double x) {
  double rest, term = 1, sum = 1;
  int halvings, i;
  if (!(x > -700)) return x == x ? 0 : x;
  halvings = (int)(0.5 - x * 1.4426950408889634);
  rest = x + halvings * 0.693147180369123816490 + halvings * 1.90821492927058770002e-10;
  for (i = 1; i < 18; i++) {
    term *= rest / i;
    sum += term;
  }
  for (; halvings > 0; halvings--) sum /= 2;
  return sum;
}

skin_edge_status skin_edge_probabilities(const skin_edge_model *model, const void *values, float *probabilities) {
  double largest, sum = 0;
  uint32_t i;
  skin_edge_real(&model->probabilities, values, model->label_count, probabilities);
  if (!model->logits) return SKIN_EDGE_OK;
  largest = (double)probabilities[0];
  for (i = 0; i < model->label_count; i++) {
    double logit = (double)probabilities[i];
    if (!(logit - logit == 0)) return SKIN_EDGE_NO_ANSWER; /* not finite */
    if (logit > largest) largest = logit;
  }
  for (i = 0; i < model->label_count; i++) sum += se_exp((double)probabilities[i] - largest);
  for (i = 0; i < model->label_count; i++)
    probabilities[i] = (float)(se_exp((double)probabilities[i] - largest) / sum);
  return SKIN_EDGE_OK;
}

skin_edge_status skin_edge_decide(const skin_edge_model *model, const float *probabilities,
                                  const skin_edge_features *features, skin_edge_answer *answer) {
  uint32_t i, t;
  answer->label = 0;
  answer->decision_count = answer->reason_count = 0;
  answer->assessable = answer->has_possible = 0;
  for (i = 0; i < model->label_count; i++) {
    double p = (double)probabilities[i];
    if (!(p >= -0.000001 && p <= 1.000001)) return SKIN_EDGE_NO_ANSWER; /* NaN as well */
    if (probabilities[i] > probabilities[answer->label]) answer->label = i;
  }
  for (t = 0; t < model->threshold_count; t++) {
    const skin_edge_threshold *own = &model->thresholds[t];
    skin_edge_decision *decision = &answer->decisions[t];
    double apart;
    decision->name = own->name;
    decision->threshold = own->threshold;
    decision->score = 0;
    for (i = 0; i < model->label_count; i++)
      if (own->classes[i / 8] >> i % 8 & 1) decision->score += (double)probabilities[i];
    apart = decision->score - own->threshold;
    decision->refer = decision->score >= own->threshold;
    decision->borderline = (apart < 0 ? -apart : apart) < own->borderline_within;
  }
  answer->decision_count = model->threshold_count;
  memset(answer->possible, 0, sizeof answer->possible);
  answer->has_possible = model->has_possible;
  for (i = 0; model->has_possible && i < model->label_count; i++)
    if ((double)probabilities[i] >= model->possible[i] || i == answer->label)
      answer->possible[i / 8] = (uint8_t)(answer->possible[i / 8] | 1u << i % 8);
  return se_assess(model, features, answer);
}

#endif /* SKIN_EDGE_IMPLEMENTATION */
