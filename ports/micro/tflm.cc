/* SPDX-License-Identifier: Apache-2.0
 *
 * tflm.cc: skin_edge_invoke with TensorFlow Lite Micro, for -DSKIN_EDGE_NETWORK. Needs TFLite Micro's sources and, for
 * speed, CMSIS-NN; both are the app's. */
#include <cstdint>
#include <cstring>

#include "config.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern "C" const unsigned char skin_edge_model_file[SKIN_EDGE_MODEL_BYTES];

#ifndef SKIN_EDGE_ARENA_BYTES /* config.h has what TFLite Micro took on the workstation, which had 64 bits */
#define SKIN_EDGE_ARENA_BYTES SKIN_EDGE_MEASURED_ARENA_BYTES
#endif

alignas(16) static uint8_t arena[SKIN_EDGE_ARENA_BYTES];

static tflite::MicroInterpreter *interpreter_of_model() {
  static tflite::MicroMutableOpResolver<SKIN_EDGE_OPERATORS> resolver;
  static const bool known = SKIN_EDGE_ADD_OPERATORS(resolver);
  static tflite::MicroInterpreter interpreter(tflite::GetModel(skin_edge_model_file), resolver, arena, sizeof arena);
  static const bool ready = known && interpreter.AllocateTensors() == kTfLiteOk;
  return ready ? &interpreter : nullptr;
}

/* Bytes of the arena that are used, 0 where the network cannot be loaded. */
extern "C" size_t skin_edge_arena_used() {
  tflite::MicroInterpreter *interpreter = interpreter_of_model();
  return interpreter ? interpreter->arena_used_bytes() : 0;
}

extern "C" int skin_edge_invoke(const void *input, size_t input_bytes, void *output, size_t output_bytes, void *score,
                                size_t score_bytes) {
  tflite::MicroInterpreter *interpreter = interpreter_of_model();
  if (!interpreter) return 0;
  TfLiteTensor *in = interpreter->input(0), *out = interpreter->output(SKIN_EDGE_OUTPUT);
  if (!in || !out || in->bytes != input_bytes || out->bytes != output_bytes) return 0;
  std::memcpy(in->data.data, input, input_bytes);
  if (interpreter->Invoke() != kTfLiteOk) return 0;
  std::memcpy(output, out->data.data, output_bytes);
  if (score_bytes) {
    TfLiteTensor *scored = interpreter->output(SKIN_EDGE_SCORE_OUTPUT);
    if (!scored || scored->bytes != score_bytes) return 0;
    std::memcpy(score, scored->data.data, score_bytes);
  }
  return 1;
}
