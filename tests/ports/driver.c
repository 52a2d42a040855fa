/* Answers test_ports.py's questions, one a line, with skin_edge.h. */
#define SKIN_EDGE_IMPLEMENTATION
#include "skin_edge.h"

#include <stdio.h>
#include <stdlib.h>

static skin_edge_model model;

static uint8_t *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  uint8_t *bytes;
  if (!file) exit(3);
  fseek(file, 0, SEEK_END);
  *length = (size_t)ftell(file);
  rewind(file);
  bytes = (uint8_t *)malloc(*length + (*length == 0)); /* not a byte more: the sanitizer watches its end */
  if (fread(bytes, 1, *length, file) != *length) exit(3);
  fclose(file);
  return bytes;
}

static void write_file(const char *path, const void *bytes, size_t length) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(bytes, 1, length, file) != length) exit(3);
  fclose(file);
}

static void open_model(const char *path) {
  size_t length;
  uint8_t *file = read_file(path, &length);
  skin_edge_status status = skin_edge_open(file, length, &model);
  free(file);
  if (status != SKIN_EDGE_OK) printf("%s\n", skin_edge_message(status));
  else
    printf("ok %u %u %u %u %s %d %s %s\n", model.input.rows, model.input.columns, model.label_count,
           model.threshold_count, model.labels[0].code, model.labels[0].malignant, model.labels[0].name, model.notice);
}

static void resize(int layout, int orientation, uint32_t width, uint32_t height, uint32_t to_width, uint32_t to_height,
                   const char *from, const char *to) {
  size_t length, memory_size;
  uint8_t *pixels = read_file(from, &length), *rgb = (uint8_t *)malloc(3 * (size_t)to_width * to_height), *memory;
  skin_edge_picture picture;
  uint32_t upright_width, upright_height;
  skin_edge_status status;
  picture.pixels = pixels, picture.width = width, picture.height = height, picture.row_bytes = length / height;
  picture.layout = (skin_edge_layout)layout, picture.orientation = orientation;
  model.input.columns = to_width, model.input.rows = to_height, model.max_pixels = 1000000;
  skin_edge_upright_size(&picture, &upright_width, &upright_height);
  memory_size = skin_edge_memory(upright_width, upright_height, to_width, to_height);
  memory = (uint8_t *)malloc(memory_size + 1);
  status = skin_edge_resize(&model, &picture, rgb, memory, memory_size - 1);
  if (status == SKIN_EDGE_OK) exit(4); /* a byte too little */
  status = skin_edge_resize(&model, &picture, rgb, memory + 1, memory_size); /* not aligned */
  write_file(to, rgb, 3 * (size_t)to_width * to_height);
  printf("%s\n", status == SKIN_EDGE_OK ? "ok" : skin_edge_message(status));
  free(pixels), free(rgb), free(memory);
}

static void decide(char *line) {
  float probabilities[SKIN_EDGE_MAX_LABELS];
  skin_edge_answer answer;
  skin_edge_status status;
  uint32_t i = 0;
  for (line = strtok(line, " \n"); line; line = strtok(NULL, " \n")) probabilities[i++] = strtof(line, NULL);
  model.check_count = 0; /* the decisions alone */
  status = skin_edge_decide(&model, probabilities, NULL, &answer);
  if (status != SKIN_EDGE_OK) printf("%s\n", skin_edge_message(status));
  else {
    printf("%s", model.labels[answer.label].code);
    for (i = 0; i < answer.decision_count; i++)
      printf(" %s %.17g %s %d", answer.decisions[i].name, answer.decisions[i].score,
             answer.decisions[i].refer ? "refer" : "below", answer.decisions[i].borderline);
    printf("\n");
  }
}

static void measure(uint32_t width, uint32_t height, const char *from) {
  size_t length;
  uint8_t *rgb = read_file(from, &length);
  skin_edge_features features;
  int i;
  model.input.columns = width, model.input.rows = height;
  skin_edge_measure(&model, rgb, &features);
  for (i = 0; i < SKIN_EDGE_OUTLIER_SCORE; i++) printf("%s%ld", i ? " " : "", (long)features.values[i]);
  printf("\n");
  free(rgb);
}

/* Probabilities, then features: what can be said of such a picture. */
static void answer(char *line) {
  float probabilities[SKIN_EDGE_MAX_LABELS];
  char refusal[300], cut[20];
  skin_edge_features features;
  skin_edge_answer answer;
  skin_edge_status status;
  uint32_t i;
  char *word = strtok(line, " \n");
  int given = 0;
  for (i = 0; i < model.label_count; i++, word = strtok(NULL, " \n")) probabilities[i] = strtof(word, NULL);
  features.has_outlier_score = 0;
  for (; word; word = strtok(NULL, " \n"), given++)
    if (given < SKIN_EDGE_OUTLIER_SCORE) features.values[given] = (int32_t)strtol(word, NULL, 10);
    else features.outlier_score = strtof(word, NULL), features.has_outlier_score = 1;
  status = skin_edge_decide(&model, probabilities, given ? &features : NULL, &answer);
  if (status != SKIN_EDGE_OK && status != SKIN_EDGE_REFUSED) {
    printf("%s\n", skin_edge_message(status));
    return;
  }
  if ((status == SKIN_EDGE_OK) != answer.assessable || (answer.reason_count == 0) != answer.assessable) exit(4);
  skin_edge_refusal(&answer, refusal, sizeof refusal);
  skin_edge_refusal(&answer, cut, sizeof cut);
  if (strncmp(cut, refusal, sizeof cut - 1) != 0 || strlen(cut) > sizeof cut - 1) exit(4);
  printf("%s %d possible:", model.labels[answer.label].code, answer.assessable);
  for (i = 0; answer.has_possible && i < model.label_count; i++)
    if (answer.possible[i / 8] >> i % 8 & 1) printf(" %s", model.labels[i].code);
  printf(" reasons:");
  for (i = 0; i < answer.reason_count; i++) printf(" %s", answer.reasons[i]->reason);
  printf(" %s\n", refusal);
}

/* The value of the output outlier_score as the network gives it. */
static void score(const char *word) {
  skin_edge_features features;
  float real = strtof(word, NULL);
  int8_t byte = (int8_t)strtol(word, NULL, 10);
  int is_float = model.outlier_score.type == SKIN_EDGE_FLOAT32;
  skin_edge_status status = skin_edge_score(&model, is_float ? (const void *)&real : (const void *)&byte, &features);
  if (status != SKIN_EDGE_OK) printf("%s\n", skin_edge_message(status));
  else printf("%.9g\n", (double)features.outlier_score);
}

/* All bytes in all channels as the tensor of an input: type, scale, zero point. */
static void tensor(int type, double scale, int zero_point, const char *to) {
  uint8_t rgb[768];
  float values[768];
  int i;
  for (i = 0; i < 768; i++) rgb[i] = (uint8_t)(i / 3);
  model.input.rows = 256, model.input.columns = 1, model.bytes_unchanged = 0;
  model.input.type = (skin_edge_type)type, model.input.scale = scale, model.input.zero_point = zero_point;
  skin_edge_fill_tensor(&model, rgb, values);
  write_file(to, values, type == SKIN_EDGE_FLOAT32 ? sizeof values : 768);
  printf("ok\n");
}

int main(void) {
  static char line[100000], from[1000], to[1000], word[1000];
  while (fgets(line, sizeof line, stdin)) {
    int a, b;
    unsigned w, h, tw, th;
    double number;
    if (sscanf(line, "open %999s", from) == 1) open_model(from);
    else if (sscanf(line, "resize %d %d %u %u %u %u %999s %999s", &a, &b, &w, &h, &tw, &th, from, to) == 8)
      resize(a, b, w, h, tw, th, from, to);
    else if (strncmp(line, "decide ", 7) == 0) decide(line + 7);
    else if (strncmp(line, "answer ", 7) == 0) answer(line + 7);
    else if (sscanf(line, "measure %u %u %999s", &w, &h, from) == 3) measure(w, h, from);
    else if (sscanf(line, "score %999s", word) == 1) score(word);
    else if (sscanf(line, "tensor %d %lf %d %999s", &a, &number, &b, to) == 4) tensor(a, number, b, to);
    else if (sscanf(line, "exif %999s", from) == 1 || sscanf(line, "orientation %999s", from) == 1) {
      size_t length;
      uint8_t *file = read_file(from, &length);
      printf("%d\n", *line == 'e' ? skin_edge_exif_orientation(file, length) : skin_edge_orientation(file, length));
      free(file);
    } else if (sscanf(line, "profile %d %999s", &a, from) == 2) {
      size_t length;
      uint8_t *file = read_file(from, &length);
      printf("%d\n", skin_edge_profile_is_skipped(file, length, a));
      free(file);
    } else if (sscanf(line, "number %999s", word) == 1) {
      se_text text;
      text.p = word, text.end = word + strlen(word);
      if (se_number(text, &number)) printf("%.17g\n", number);
      else printf("no number\n");
    } else {
      exit(5);
    }
    fflush(stdout);
  }
  return 0;
}
