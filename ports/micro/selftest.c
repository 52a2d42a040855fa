/* SPDX-License-Identifier: Apache-2.0
 *
 * selftest.c: holds the port, and the network where there is one, against golden pictures, on the chip.
 *
 * Prints a line per picture and ends with "level A", "level C" or "refused" (CONTRACT.md, section 9); main returns 0 for
 * level A, 1 for C and 3 for refused. Without SKIN_EDGE_NETWORK the network is left out: golden outputs stand for its
 * own, so that everything before and behind it is tested. */
#include "golden.h"
#include "skin_edge.h"

#include <stdio.h>
#include <string.h>

#ifndef SKIN_EDGE_WORK_BYTES
#define SKIN_EDGE_WORK_BYTES 65536 /* for the resize: skin_edge_memory() of the largest picture */
#endif

#define INPUT_BYTES (3 * SKIN_EDGE_INPUT_ROWS * SKIN_EDGE_INPUT_COLUMNS)

#ifdef SKIN_EDGE_NETWORK
/* The app's: runs the network. 1 where it did, 0 where it could not. tflm.cc is one with TFLite Micro. score: of the output
 * outlier_score; score_bytes is 0 where the network has none. */
int skin_edge_invoke(const void *input, size_t input_bytes, void *output, size_t output_bytes, void *score,
                     size_t score_bytes);
#endif

#ifdef SKIN_EDGE_STACK /* start.c's, of the emulated boards */
void skin_edge_stack_paint(void);
unsigned skin_edge_stack_used(void);
#endif

static skin_edge_model model;
static uint8_t rgb[INPUT_BYTES];
static uint8_t tensor[INPUT_BYTES * SKIN_EDGE_INPUT_WIDTH];
static uint32_t memory[SKIN_EDGE_WORK_BYTES / 4];
static size_t work; /* of it, the most that a picture needed */

enum { EXACT = 0, OTHER_KERNELS = 1, REFUSED = 3 };

static int hash_is(const uint8_t *bytes, size_t length, const char *expected) {
  skin_edge_sha256 sha;
  char hex[65];
  skin_edge_sha256_begin(&sha);
  skin_edge_sha256_add(&sha, bytes, length);
  skin_edge_sha256_end(&sha, hex);
  return strcmp(hex, expected) == 0;
}

static int decide(const uint8_t *output, const uint8_t *score, skin_edge_answer *answer, float *probabilities) {
  skin_edge_features features;
  skin_edge_status status;
  skin_edge_measure(&model, rgb, &features);
  if (model.outlier_score.rows && skin_edge_score(&model, score, &features) != SKIN_EDGE_OK) return 0;
  if (skin_edge_probabilities(&model, output, probabilities) != SKIN_EDGE_OK) return 0;
  status = skin_edge_decide(&model, probabilities, &features, answer);
  return status == SKIN_EDGE_OK || status == SKIN_EDGE_REFUSED;
}

/* Whether the bytes' features are the golden ones. */
static int measured(const skin_edge_golden *golden) {
  skin_edge_features features;
  skin_edge_measure(&model, rgb, &features);
  return !model.check_count || memcmp(features.values, golden->features, sizeof features.values) == 0;
}

/* Whether the codes of an answer's reasons are those of a golden line. */
static int reasons_are(const skin_edge_answer *answer, const char *golden) {
  uint32_t i;
  for (i = 0; i < answer->reason_count; i++) {
    size_t length = strlen(answer->reasons[i]->reason);
    if (i && *golden++ != ' ') return 0;
    if (strncmp(golden, answer->reasons[i]->reason, length) != 0) return 0;
    golden += length;
  }
  return *golden == 0;
}

static int within(double a, double b, double most) { return a - b <= most && b - a <= most; }

/* Runs the network, or takes the golden output. */
static int run(const skin_edge_golden *golden, uint8_t *output, uint8_t *score) {
#ifdef SKIN_EDGE_NETWORK
  (void)golden;
  return skin_edge_invoke(tensor, sizeof tensor, output, SKIN_EDGE_OUTPUT_BYTES, score, SKIN_EDGE_SCORE_BYTES);
#else
  memcpy(output, golden->output, SKIN_EDGE_OUTPUT_BYTES);
  memcpy(score, golden->score, SKIN_EDGE_SCORE_BYTES);
  return 1;
#endif
}

static int assess(const skin_edge_golden *golden) {
  skin_edge_picture picture;
  skin_edge_answer answer, expected;
  static float found[SKIN_EDGE_MAX_LABELS], wanted[SKIN_EDGE_MAX_LABELS];
  static uint8_t output[SKIN_EDGE_OUTPUT_BYTES], score[SKIN_EDGE_SCORE_BYTES + 1];
  int level = EXACT, exact = 1;
  size_t size;
  uint32_t i;
  picture.pixels = golden->pixels;
  picture.width = golden->width, picture.height = golden->height;
  picture.row_bytes = 3 * (size_t)golden->width;
  picture.layout = SKIN_EDGE_RGB, picture.orientation = 1;
  size = skin_edge_memory(picture.width, picture.height, model.input.columns, model.input.rows);
  if (size > work) work = size;
  if (skin_edge_resize(&model, &picture, rgb, memory, sizeof memory) != SKIN_EDGE_OK)
    return printf("%s: not resized\n", golden->file), REFUSED;
  if (!hash_is(rgb, sizeof rgb, golden->input_sha256))
    return printf("%s: the resized picture has other bytes\n", golden->file), REFUSED;
  if (!measured(golden)) return printf("%s: other features\n", golden->file), REFUSED;
  skin_edge_fill_tensor(&model, rgb, tensor);
  if (!run(golden, output, score)) return printf("%s: the network did not run\n", golden->file), REFUSED;
  if (!decide(output, score, &answer, found) || !decide(golden->output, golden->score, &expected, wanted))
    return printf("%s: no answer\n", golden->file), REFUSED;
  for (i = 0; i < model.label_count; i++) {
    if (!within(found[i], wanted[i], SKIN_EDGE_OTHER_KERNELS_WITHIN)) level = REFUSED;
    if (!within(found[i], wanted[i], SKIN_EDGE_EXACT_WITHIN)) exact = 0;
  }
  if (!exact && level == EXACT) level = OTHER_KERNELS;
  if (expected.label != golden->label || answer.decision_count != SKIN_EDGE_THRESHOLDS) level = REFUSED;
  if (exact && answer.label != golden->label) level = REFUSED;
  if (!reasons_are(&expected, golden->reasons)) level = REFUSED;
  if (!reasons_are(&answer, golden->reasons) && level == EXACT) /* an outlier_score by other kernels may be */
    level = memcmp(score, golden->score, SKIN_EDGE_SCORE_BYTES) != 0 ? OTHER_KERNELS : REFUSED;
  for (i = 0; i < answer.decision_count; i++) {
    const skin_edge_golden_decision *own = &golden->decisions[i];
    if (answer.decisions[i].refer != own->refer && !(own->borderline && !exact)) level = REFUSED;
    if (exact && answer.decisions[i].borderline != own->borderline) level = REFUSED;
    if (exact && !within(answer.decisions[i].score, own->score, SKIN_EDGE_MAX_LABELS * SKIN_EDGE_EXACT_WITHIN))
      level = REFUSED;
  }
#ifdef SKIN_EDGE_NETWORK
  if (memcmp(output, golden->tflm_output, sizeof output) != 0)
    printf("%s: not the bytes of TFLite Micro's reference kernels\n", golden->file);
#endif
  printf("%s: %s, %s\n", golden->file, answer.assessable ? model.labels[answer.label].code : "cannot assess",
         level == EXACT ? "A" : level == OTHER_KERNELS ? "C" : "refused");
  return level;
}

int main(void) {
  int worst = EXACT, i;
  skin_edge_status status;
#ifdef SKIN_EDGE_STACK
  skin_edge_stack_paint();
#endif
  status = skin_edge_open(skin_edge_model_file, sizeof skin_edge_model_file, &model);
  if (status != SKIN_EDGE_OK) return printf("refused: %s\n", skin_edge_message(status)), REFUSED;
  for (i = 0; i < SKIN_EDGE_GOLDEN_PICTURES; i++) {
    int level = assess(&skin_edge_goldens[i]);
    if (level > worst) worst = level;
  }
  printf("memory: %u bytes for what the model says of itself, up to %u for the resize\n", (unsigned)sizeof model,
         (unsigned)work);
#ifdef SKIN_EDGE_STACK
  printf("stack: %u bytes\n", skin_edge_stack_used());
#endif
#ifndef SKIN_EDGE_NETWORK
  printf("the network was left out: golden outputs stood for its own\n");
#endif
  printf("%d pictures: %s\n", SKIN_EDGE_GOLDEN_PICTURES,
         worst == EXACT ? "level A" : worst == OTHER_KERNELS ? "level C" : "refused");
  return worst;
}
