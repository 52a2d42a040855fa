/* SPDX-License-Identifier: Apache-2.0
 *
 * sample [--engine LIBRARY] [--assess-anything] MODEL.tflite PICTURE...: one line of JSON per picture, as CONTRACT.md's
 * "an app's answers" has it.
 *
 *     cc -O2 sample.c -o sample -ljpeg -lpng [-DSKIN_EDGE_LCMS -llcms2] [-ldl]
 *     ./sample --engine libLiteRt.so model.tflite pictures/a.jpg pictures/b.png > answers.jsonl
 *
 * --engine: LiteRT's C library; without it the lines end before the network. With SKIN_EDGE_LCMS embedded profiles are
 * applied; without, a picture that needs its profile cannot be assessed. libjpeg-turbo and libpng decode. A picture beyond
 * the model's limits has an error and no class; --assess-anything answers it all the same, with a warning in its line. */
#define SKIN_EDGE_IMPLEMENTATION
#include "skin_edge.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <jerror.h>
#include <png.h>
#ifdef SKIN_EDGE_LCMS
#include <lcms2.h>
#endif

#include "litert.h"

#define DAMAGED "cannot assess: the picture is damaged or truncated"

/* A decoded picture, its profile, or why there is none. */
typedef struct {
  skin_edge_picture picture;
  uint8_t *pixels, *profile;
  size_t profile_length;
  const char *error;
} decoded;

static void *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  uint8_t *bytes = NULL;
  long size;
  if (!file) return NULL;
  if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
    bytes = (uint8_t *)malloc((size_t)size + 1);
    *length = (size_t)size;
    if (bytes && fread(bytes, 1, *length, file) != *length) free(bytes), bytes = NULL;
  }
  fclose(file);
  return bytes;
}

/* Memory for the pixels, once the header is known. 0: refused. */
static int allocate(decoded *out, const skin_edge_model *model, uint32_t width, uint32_t height,
                    skin_edge_layout layout, size_t pixel_bytes) {
  if (width == 0 || height == 0) return out->error = skin_edge_message(SKIN_EDGE_NO_PICTURE), 0;
  if ((uint64_t)width * height > model->max_pixels) return out->error = skin_edge_message(SKIN_EDGE_MANY_PIXELS), 0;
  out->picture.width = width, out->picture.height = height, out->picture.layout = layout;
  out->picture.row_bytes = width * pixel_bytes;
  out->picture.pixels = out->pixels = (uint8_t *)malloc(out->picture.row_bytes * height);
  if (!out->pixels) return out->error = skin_edge_message(SKIN_EDGE_SMALL_MEMORY), 0;
  return 1;
}

/* ---- JPEG ---- */

typedef struct {
  struct jpeg_error_mgr base; /* first, so that libjpeg's pointer is ours */
  jmp_buf escape;
} jpeg_errors;

static void jpeg_fail(j_common_ptr info) { longjmp(((jpeg_errors *)(void *)info->err)->escape, 1); }

static void jpeg_warn(j_common_ptr info, int level) { /* libjpeg would go on and fill the missing rows with grey */
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) jpeg_fail(info);
}

static void decode_jpeg(const uint8_t *file, size_t length, const skin_edge_model *model, decoded *out) {
  struct jpeg_decompress_struct info;
  jpeg_errors errors;
  JOCTET *icc = NULL;
  unsigned icc_length;
  int channels;
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = jpeg_fail;
  errors.base.emit_message = jpeg_warn;
  jpeg_create_decompress(&info);
  if (setjmp(errors.escape)) {
    if (!out->error) out->error = DAMAGED;
    jpeg_destroy_decompress(&info);
    return;
  }
  jpeg_mem_src(&info, file, (unsigned long)length);
  jpeg_save_markers(&info, JPEG_APP0 + 2, 0xffff);
  jpeg_read_header(&info, TRUE);
  if (info.num_components == 4) info.out_color_space = JCS_CMYK; /* of CMYK and YCCK */
  else if (info.jpeg_color_space == JCS_GRAYSCALE) info.out_color_space = JCS_GRAYSCALE;
  else info.out_color_space = JCS_RGB;
  channels = info.num_components == 4 ? 4 : info.out_color_space == JCS_RGB ? 3 : 1;
  if (allocate(out, model, info.image_width, info.image_height,
               channels == 4 ? SKIN_EDGE_CMYK : channels == 3 ? SKIN_EDGE_RGB : SKIN_EDGE_GREY, (size_t)channels)) {
    if (jpeg_read_icc_profile(&info, &icc, &icc_length)) out->profile = icc, out->profile_length = icc_length;
    jpeg_start_decompress(&info); /* islow DCT, fancy upsampling and full size are libjpeg's defaults */
    while (info.output_scanline < info.output_height) {
      JSAMPROW row = out->pixels + info.output_scanline * out->picture.row_bytes;
      jpeg_read_scanlines(&info, &row, 1);
    }
  }
  jpeg_destroy_decompress(&info);
}

/* ---- PNG ---- */

typedef struct {
  const uint8_t *p, *end;
} png_bytes;

static void png_fill(png_structp png, png_bytep out, size_t length) {
  png_bytes *bytes = (png_bytes *)png_get_io_ptr(png);
  if ((size_t)(bytes->end - bytes->p) < length) png_error(png, "truncated");
  memcpy(out, bytes->p, length);
  bytes->p += length;
}

static void png_fail(png_structp png, png_const_charp message) {
  (void)message;
  png_longjmp(png, 1);
}

static void png_ignore(png_structp png, png_const_charp message) { (void)png, (void)message; }

static void decode_png(const uint8_t *file, size_t length, const skin_edge_model *model, decoded *out) {
  static const struct {
    int channels, depth;
    skin_edge_layout layout;
  } layouts[] = {{1, 8, SKIN_EDGE_GREY},    {2, 8, SKIN_EDGE_GREY_ALPHA},    {3, 8, SKIN_EDGE_RGB},
                 {4, 8, SKIN_EDGE_RGBA},    {1, 16, SKIN_EDGE_GREY16},       {2, 16, SKIN_EDGE_GREY_ALPHA16},
                 {3, 16, SKIN_EDGE_RGB16},  {4, 16, SKIN_EDGE_RGBA16}};
  png_bytes bytes;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, png_fail, png_ignore);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  png_charp name;
  png_bytep profile;
  png_uint_32 y, profile_length;
  int method, pass;
  size_t kind;
  const uint16_t one = 1;
  bytes.p = file, bytes.end = file + length;
  if (!info || setjmp(png_jmpbuf(png))) {
    if (!out->error) out->error = DAMAGED;
  } else {
    png_set_read_fn(png, &bytes, png_fill);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff); /* ours is on pixels */
    png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    /* Ignored by the contract; libpng would leave a profile out that stands behind sRGB. */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep) "sRGB\0gAMA\0cHRM", 3);
    png_read_info(png, info);
    if ((uint64_t)png_get_image_width(png, info) * png_get_image_height(png, info) > model->max_pixels) {
      out->error = skin_edge_message(SKIN_EDGE_MANY_PIXELS);
      png_longjmp(png, 1);
    }
    if (png_get_bit_depth(png, info) < 16) png_set_expand(png); /* palettes, fewer than 8 bits, a transparent colour */
    if (*(const uint8_t *)&one) png_set_swap(png);
    pass = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    for (kind = 0; layouts[kind].channels != png_get_channels(png, info) ||
                   layouts[kind].depth != png_get_bit_depth(png, info); kind++) {}
    if (allocate(out, model, png_get_image_width(png, info), png_get_image_height(png, info), layouts[kind].layout,
                 (size_t)layouts[kind].channels * (size_t)layouts[kind].depth / 8)) {
      if (png_get_iCCP(png, info, &name, &method, &profile, &profile_length)) {
        out->profile = (uint8_t *)malloc(profile_length);
        if (out->profile) memcpy(out->profile, profile, profile_length), out->profile_length = profile_length;
      }
      for (; pass > 0; pass--)
        for (y = 0; y < out->picture.height; y++)
          png_read_row(png, out->pixels + y * out->picture.row_bytes, NULL);
      png_read_end(png, NULL);
    }
  }
  png_destroy_read_struct(&png, &info, NULL);
}

/* ---- Colour ---- */

/* The picture in sRGB, where its profile asks for that; alpha is laid over white before. */
static void apply_profile(decoded *out) {
  const skin_edge_layout layout = out->picture.layout;
  const int grey = layout == SKIN_EDGE_GREY || layout == SKIN_EDGE_GREY16;
  if (!out->profile || layout == SKIN_EDGE_CMYK) return;
  if (skin_edge_profile_is_skipped(out->profile, out->profile_length, grey)) return;
#ifdef SKIN_EDGE_LCMS
  {
    size_t pixels = (size_t)out->picture.width * out->picture.height, i;
    skin_edge_picture stored = out->picture;
    uint8_t *rgb = (uint8_t *)malloc(3 * pixels);
    cmsHPROFILE from = cmsOpenProfileFromMem(out->profile, (cmsUInt32Number)out->profile_length);
    cmsHPROFILE to = cmsCreate_sRGBProfile();
    cmsHTRANSFORM transform = NULL;
    uint32_t y;
    stored.orientation = 1;
    for (y = 0; rgb && y < stored.height; y++) skin_edge_upright_row(&stored, y, rgb + 3 * (size_t)y * stored.width);
    for (i = 0; rgb && grey && i < pixels; i++) rgb[i] = rgb[3 * i];
    if (from && to)
      transform = cmsCreateTransform(from, grey ? TYPE_GRAY_8 : TYPE_RGB_8, to, TYPE_RGB_8,
                                     INTENT_RELATIVE_COLORIMETRIC, 0);
    if (!rgb) {
      out->error = skin_edge_message(SKIN_EDGE_SMALL_MEMORY);
    } else if (transform) {
      uint8_t *converted = (uint8_t *)malloc(3 * pixels);
      if (converted) cmsDoTransform(transform, rgb, converted, (cmsUInt32Number)pixels);
      else out->error = skin_edge_message(SKIN_EDGE_SMALL_MEMORY);
      free(out->pixels);
      out->picture.pixels = out->pixels = converted;
      out->picture.layout = SKIN_EDGE_RGB, out->picture.row_bytes = 3 * (size_t)stored.width;
    } /* else a damaged profile: the samples count as sRGB */
    free(rgb);
    if (transform) cmsDeleteTransform(transform);
    if (to) cmsCloseProfile(to);
    if (from) cmsCloseProfile(from);
  }
#else
  out->error = "cannot assess: the picture has a colour profile, and this program was built without Little CMS";
#endif
}

static void decode(const char *path, const skin_edge_model *model, decoded *out) {
  size_t length = 0;
  uint8_t *file = (uint8_t *)read_file(path, &length);
  memset(out, 0, sizeof *out);
  if (!file) {
    out->error = "cannot assess: the file cannot be read";
  } else {
    if (length >= 8 && memcmp(file, "\x89PNG\r\n\x1a\n", 8) == 0) decode_png(file, length, model, out);
    else if (length >= 3 && memcmp(file, "\xff\xd8\xff", 3) == 0) decode_jpeg(file, length, model, out);
    else out->error = "cannot assess: neither JPEG nor PNG";
    out->picture.orientation = skin_edge_orientation(file, length);
  }
  if (!out->error) apply_profile(out);
  free(file);
}

/* ---- Answers ---- */

static void print_text(const char *text) { /* as a JSON string */
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') putchar('\\');
    if ((unsigned char)*text < 0x20) printf("\\u%04x", (unsigned)*text);
    else putchar(*text);
  }
  putchar('"');
}

static void print_hash(const char *name, const uint8_t *bytes, size_t length) {
  skin_edge_sha256 sha;
  char hex[65];
  skin_edge_sha256_begin(&sha);
  skin_edge_sha256_add(&sha, bytes, length);
  skin_edge_sha256_end(&sha, hex);
  printf("\"%s\": \"%s\"", name, hex);
}

static void print_base64(const uint8_t *bytes, size_t length) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t i;
  for (i = 0; i < length; i += 3) { /* an RGB picture's length is a multiple of 3 */
    uint32_t three = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
    printf("%c%c%c%c", digits[three >> 18], digits[three >> 12 & 63], digits[three >> 6 & 63], digits[three & 63]);
  }
}

static void print_upright(const skin_edge_picture *picture) {
  uint32_t width, height, y;
  uint8_t *pixels;
  skin_edge_upright_size(picture, &width, &height);
  if (!(pixels = (uint8_t *)malloc(3 * (size_t)width * height))) return;
  for (y = 0; y < height; y++) skin_edge_upright_row(picture, y, pixels + 3 * (size_t)y * width);
  printf(", \"upright\": {\"width\": %u, \"height\": %u, ", (unsigned)width, (unsigned)height);
  print_hash("sha256", pixels, 3 * (size_t)width * height);
  printf("}");
  free(pixels);
}

static void print_features(const skin_edge_features *features) {
  int i;
  printf(", \"features\": {");
  for (i = 0; i < SKIN_EDGE_OUTLIER_SCORE; i++)
    printf("%s\"%s\": %ld", i ? ", " : "", skin_edge_feature_name((skin_edge_feature)i), (long)features->values[i]);
  if (features->has_outlier_score) printf(", \"outlier_score\": %.9g", (double)features->outlier_score);
  printf("}");
}

/* Whether it can be assessed, and why not. */
static void print_reasons(const skin_edge_answer *answer) {
  uint32_t i;
  printf(", \"assessable\": %s, \"reasons\": [", answer->assessable ? "true" : "false");
  for (i = 0; i < answer->reason_count; i++) {
    printf("%s", i ? ", " : "");
    print_text(answer->reasons[i]->reason);
  }
  printf("]");
}

static void print_answer(const skin_edge_model *model, const float *probabilities, const skin_edge_answer *answer) {
  uint32_t i;
  int many = 0;
  printf(", \"probabilities\": [");
  for (i = 0; i < model->label_count; i++) printf("%s%.9g", i ? ", " : "", (double)probabilities[i]);
  printf("], \"label\": ");
  print_text(model->labels[answer->label].code);
  printf(", \"decisions\": [");
  for (i = 0; i < answer->decision_count; i++) {
    const skin_edge_decision *decision = &answer->decisions[i];
    printf("%s{\"name\": ", i ? ", " : "");
    print_text(decision->name);
    printf(", \"score\": %.17g, \"decision\": \"%s\", \"borderline\": %s}", decision->score,
           decision->refer ? "refer" : "below", decision->borderline ? "true" : "false");
  }
  printf("]");
  if (!answer->has_possible) return;
  printf(", \"possible\": [");
  for (i = 0; i < model->label_count; i++)
    if (answer->possible[i / 8] >> i % 8 & 1) {
      printf("%s", many++ ? ", " : "");
      print_text(model->labels[i].code);
    }
  printf("]");
}

/* The bytes of an output of the network. */
static int output_of(litert_engine *engine, const char *name, const skin_edge_tensor *tensor, void *values) {
  size_t wide = tensor->type == SKIN_EDGE_FLOAT32 ? 4 : 1;
  return litert_output(engine, name, values, tensor->rows * tensor->columns * wide);
}

/* The input's bytes -> the rest of the line. */
static skin_edge_status answer_input(const skin_edge_model *model, litert_engine *engine, const uint8_t *rgb,
                                     uint8_t *tensor, int anything, char *refusal, size_t refusal_size) {
  const size_t count = 3 * (size_t)model->input.rows * model->input.columns;
  const size_t wide = model->input.type == SKIN_EDGE_FLOAT32 ? 4 : 1;
  float probabilities[SKIN_EDGE_MAX_LABELS], raw[SKIN_EDGE_MAX_LABELS];
  skin_edge_features features;
  skin_edge_answer answer;
  skin_edge_status status;
  skin_edge_measure(model, rgb, &features);
  if (!engine) {
    if (model->check_count) print_features(&features);
    return SKIN_EDGE_OK;
  }
  skin_edge_fill_tensor(model, rgb, tensor);
  if (!litert_run(engine, tensor, count * wide)) return SKIN_EDGE_NO_ANSWER;
  if (model->outlier_score.rows) {
    if (!output_of(engine, "outlier_score", &model->outlier_score, raw)) return SKIN_EDGE_NO_ANSWER;
    if ((status = skin_edge_score(model, raw, &features)) != SKIN_EDGE_OK) return status;
  }
  if (!output_of(engine, model->logits ? "logits" : "probabilities", &model->probabilities, raw))
    return SKIN_EDGE_NO_ANSWER;
  status = skin_edge_probabilities(model, raw, probabilities);
  if (status == SKIN_EDGE_OK) status = skin_edge_decide(model, probabilities, &features, &answer);
  if (status != SKIN_EDGE_OK && status != SKIN_EDGE_REFUSED) return status;
  if (model->check_count) print_features(&features), print_reasons(&answer);
  skin_edge_refusal(&answer, refusal, refusal_size);
  if (status == SKIN_EDGE_REFUSED && !anything) return status;
  print_answer(model, probabilities, &answer);
  if (status == SKIN_EDGE_REFUSED) printf(", \"warning\": "), print_text(refusal);
  return SKIN_EDGE_OK;
}

static void assess(const skin_edge_model *model, litert_engine *engine, const char *path, int anything) {
  const size_t count = 3 * (size_t)model->input.rows * model->input.columns;
  decoded picture;
  static char refusal[4096];
  const char *error;
  decode(path, model, &picture);
  printf("{\"file\": ");
  print_text(path);
  if (!(error = picture.error)) {
    uint32_t width, height;
    size_t size;
    skin_edge_status status = SKIN_EDGE_SMALL_MEMORY;
    uint8_t *rgb = (uint8_t *)malloc(count), *tensor = (uint8_t *)malloc(4 * count), *memory;
    skin_edge_upright_size(&picture.picture, &width, &height);
    size = skin_edge_memory(width, height, model->input.columns, model->input.rows);
    memory = (uint8_t *)malloc(size);
    if (rgb && tensor && memory) status = skin_edge_resize(model, &picture.picture, rgb, memory, size);
    if (status == SKIN_EDGE_OK) {
      print_upright(&picture.picture);
      printf(", \"input\": {");
      print_hash("sha256", rgb, count);
      printf(", \"base64\": \"");
      print_base64(rgb, count);
      printf("\"}");
    }
    if (status == SKIN_EDGE_OK)
      status = answer_input(model, engine, rgb, tensor, anything, refusal, sizeof refusal);
    if (status != SKIN_EDGE_OK) error = status == SKIN_EDGE_REFUSED ? refusal : skin_edge_message(status);
    free(memory), free(tensor), free(rgb);
  }
  if (error) printf(", \"error\": "), print_text(error);
  printf("}\n");
  free(picture.pixels), free(picture.profile);
}

int main(int count, char **words) {
  static skin_edge_model model;
  litert_engine engine;
  const char *library = NULL;
  skin_edge_status status;
  size_t length = 0;
  void *file;
  int i = 1, anything = 0;
  for (; i < count && strncmp(words[i], "--", 2) == 0; i++) {
    if (strcmp(words[i], "--assess-anything") == 0) anything = 1;
    else if (strcmp(words[i], "--engine") == 0 && i + 1 < count) library = words[++i];
    else i = count;
  }
  if (i >= count)
    return fprintf(stderr, "usage: sample [--engine libLiteRt.so] [--assess-anything] MODEL.tflite PICTURE...\n"), 2;
  file = read_file(words[i], &length);
  status = file ? skin_edge_open(file, length, &model) : SKIN_EDGE_NOT_A_MODEL;
  free(file);
  if (status != SKIN_EDGE_OK) return fprintf(stderr, "%s: %s\n", words[i], skin_edge_message(status)), 1;
  if (library && !litert_open(&engine, library, words[i])) {
    litert_close(&engine);
    return fprintf(stderr, "%s: LiteRT does not run the network\n", words[i]), 1;
  }
  fprintf(stderr, "%s\n", model.notice);
  if (anything) fprintf(stderr, "--assess-anything: pictures that cannot be assessed are answered all the same\n");
  for (i++; i < count; i++) assess(&model, library ? &engine : NULL, words[i], anything);
  if (library) litert_close(&engine);
  return 0;
}
