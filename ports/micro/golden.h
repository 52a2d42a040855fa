/* SPDX-License-Identifier: Apache-2.0
 *
 * golden.h: what the arrays in golden.c hold, which `skin-edge bundle --micro` writes. */
#ifndef SKIN_EDGE_GOLDEN_H
#define SKIN_EDGE_GOLDEN_H

#include <stdint.h>

#include "config.h"

/* How many pictures of golden.c are built, the smallest first: each takes 3 * width * height bytes of flash. */
#ifndef SKIN_EDGE_GOLDEN_PICTURES
#define SKIN_EDGE_GOLDEN_PICTURES SKIN_EDGE_GOLDEN_ALL
#endif

/* Where their pixels go, such as __attribute__((section(".pictures"))). */
#ifndef SKIN_EDGE_GOLDEN_SECTION
#define SKIN_EDGE_GOLDEN_SECTION
#endif

typedef struct {
  double score;
  int refer, borderline;
} skin_edge_golden_decision;

typedef struct {
  const char *file;           /* within golden/ of the bundle */
  uint32_t width, height;     /* upright */
  const uint8_t *pixels;      /* RGB, 3 * width * height bytes */
  const char *input_sha256;   /* of the resized picture's RGB bytes */
  const uint8_t *output;      /* the first output tensor's bytes, by LiteRT with XNNPACK */
  const uint8_t *tflm_output; /* the same by TFLite Micro's reference kernels */
  const uint8_t *score;       /* the bytes of the output outlier_score, by LiteRT; one 0 where there is none */
  uint32_t label;             /* position of the class */
  const skin_edge_golden_decision *decisions;
  const int32_t *features; /* of the bytes, in the order of skin_edge_feature; of a model without checks zeros */
  const char *reasons;     /* codes of why it cannot be assessed, a space between two */
} skin_edge_golden;

extern const skin_edge_golden skin_edge_goldens[];
extern const unsigned char skin_edge_model_file[SKIN_EDGE_MODEL_BYTES]; /* aligned to 16 bytes */

#endif
