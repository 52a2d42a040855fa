// SPDX-License-Identifier: Apache-2.0
//
// An external delegate that is broken on purpose. It takes the network's softmax, in float32 or quantized, and answers
//
//   mode=right     rightly: the delegate that must not be called broken
//   mode=second    wrongly every second time
//   mode=zero      zeros, silently
//   mode=refuse    not at all: it takes no operator, and says that all is well
//   mode=stuck     with the first answer, for ever
//   mode=drift     a little further from the truth each time
//   mode=crash     by ending the process at the 40th time
//   mode=hang      not any more from the 40th time on
//
// TFLite's C structures, as far as they are needed, in their order of TensorFlow Lite 2.4 and later (tensorflow/lite/core/c/common.h).
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct { int32_t type; void* data; IntArray* dims; struct { float scale; int32_t zero_point; } params; int32_t allocation; size_t bytes;
  void* map; const char* name; void* delegate; int32_t buffer; bool stale, variable; struct { int32_t type; void* params; } quantization; void* sparsity; IntArray* signature; } Tensor;
typedef struct { IntArray* inputs; IntArray* outputs; IntArray* intermediates; IntArray* temporaries; void* user_data; void* builtin_data; } Node;
struct Context;
struct Delegate;
typedef struct {
  void* (*init)(struct Context*, const char*, size_t);
  void (*free)(struct Context*, void*);
  int (*prepare)(struct Context*, Node*);
  int (*invoke)(struct Context*, Node*);
  const char* (*profiling_string)(const struct Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* external;
  void* async_kernel;
  uint64_t inplace_operator;
} Registration;
typedef struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(struct Context*, IntArray**);
  Tensor* tensors;
  void* impl;
  int (*resize_tensor)(struct Context*, Tensor*, IntArray*);
  void (*report_error)(struct Context*, const char*, ...);
  int (*add_tensors)(struct Context*, int, int*);
  int (*get_node)(struct Context*, int, Node**, Registration**);
  int (*replace)(struct Context*, Registration, const IntArray*, struct Delegate*);
} Context;
typedef struct Delegate {
  void* data;
  int (*prepare)(Context*, struct Delegate*);
  void* copy_from;
  void* copy_to;
  void* free_handle;
  int64_t flags;
  void* opaque;
} Delegate;

enum { SOFTMAX = 25, DELEGATE = 51, FLOAT32 = 1, UINT8 = 3, INT8 = 9, MOST = 1024 };

static char mode[16] = "right";
static long answers;
static float first[MOST];
static int input, output;

static float get(const Tensor* tensor, size_t i) {
  if (tensor->type == FLOAT32) return ((const float*)tensor->data)[i];
  const int value = tensor->type == INT8 ? ((const int8_t*)tensor->data)[i] : ((const uint8_t*)tensor->data)[i];
  return (float)(value - tensor->params.zero_point) * tensor->params.scale;
}

static void set(const Tensor* tensor, size_t i, float value) {
  if (tensor->type == FLOAT32) {
    ((float*)tensor->data)[i] = value;
    return;
  }
  const int lowest = tensor->type == INT8 ? -128 : 0;
  int integer = (int)floorf(value / tensor->params.scale + 0.5f) + tensor->params.zero_point;
  if (integer > lowest + 255) integer = lowest + 255;
  if (integer < lowest) integer = lowest;
  ((uint8_t*)tensor->data)[i] = (uint8_t)integer;  // the same bits for either type
}

static int answer(Context* context, Node* node) {
  (void)node;
  const Tensor* from = &context->tensors[input];
  const Tensor* to = &context->tensors[output];
  const size_t n = to->bytes / (to->type == FLOAT32 ? sizeof(float) : 1);
  float y[MOST], largest = get(from, 0), sum = 0;
  for (size_t i = 1; i < n; i++) largest = fmaxf(largest, get(from, i));
  for (size_t i = 0; i < n; i++) sum += y[i] = expf(get(from, i) - largest);
  for (size_t i = 0; i < n; i++) y[i] /= sum;
  answers++;
  if (!strcmp(mode, "second") && answers % 2 == 0)
    for (size_t i = 0; i < n / 2; i++) { const float kept = y[i]; y[i] = y[n - 1 - i]; y[n - 1 - i] = kept; }
  if (!strcmp(mode, "zero")) memset(y, 0, n * sizeof(float));
  if (!strcmp(mode, "stuck")) {
    if (answers == 1) memcpy(first, y, n * sizeof(float));
    memcpy(y, first, n * sizeof(float));
  }
  if (!strcmp(mode, "drift")) {
    const float share = fminf((float)answers * 1e-3f, 1);
    for (size_t i = 0; i < n; i++) y[i] = y[i] * (1 - share) + share / (float)n;
  }
  if (!strcmp(mode, "crash") && answers == 40) abort();
  while (!strcmp(mode, "hang") && answers >= 40) sleep(1);
  for (size_t i = 0; i < n; i++) set(to, i, y[i]);
  return 0;
}

static int prepare_node(Context* context, Node* node) { (void)context; (void)node; return 0; }

static int prepare(Context* context, Delegate* delegate) {
  if (!strcmp(mode, "refuse")) return 0;
  IntArray* plan;
  if (context->get_execution_plan(context, &plan)) return 1;
  for (int i = plan->size - 1; i >= 0; i--) {
    const int number = plan->data[i];
    Node* node;
    Registration* operator;
    if (context->get_node(context, number, &node, &operator)) return 1;
    if (operator->builtin_code != SOFTMAX) continue;
    input = node->inputs->data[0];
    output = node->outputs->data[0];
    const int32_t type = context->tensors[output].type;
    if (type != FLOAT32 && type != UINT8 && type != INT8) return 1;
    IntArray* chosen = malloc(sizeof(IntArray) + sizeof(int));
    chosen->size = 1;
    chosen->data[0] = number;
    Registration ours = {.prepare = prepare_node, .invoke = answer, .builtin_code = DELEGATE, .custom_name = "broken", .version = 1};
    const int status = context->replace(context, ours, chosen, delegate);
    free(chosen);
    return status;
  }
  return 1;
}

__attribute__((visibility("default"))) Delegate* tflite_plugin_create_delegate(
    char** keys, char** values, size_t count, void (*report)(const char*)) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(keys[i], "mode")) { report("unknown option"); return NULL; }
    strncpy(mode, values[i], sizeof(mode) - 1);
  }
  Delegate* made = calloc(1, sizeof(Delegate));
  made->prepare = prepare;
  return made;
}

__attribute__((visibility("default"))) void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
