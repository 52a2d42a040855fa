/* SPDX-License-Identifier: Apache-2.0
 *
 * The network by LiteRT's C library (libLiteRt.so, as in the wheel ai-edge-litert or LiteRT's releases), loaded by name,
 * on the CPU with XNNPACK. Its C API has no stable form yet: these declarations are those of LiteRT 2.3. */
#ifndef SKIN_EDGE_LITERT_H
#define SKIN_EDGE_LITERT_H

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  void *library, *environment, *model, *options, *compiled, *input, *output[8];
  const char *name[8]; /* of each output, in the model */
  size_t output_count;
} litert_engine;

/* A function of the library, of the type of `pointer`, which C does not let a `void *` become. */
static int litert_find(litert_engine *engine, const char *name, void *pointer, size_t size) {
  void *symbol = dlsym(engine->library, name);
  if (!symbol) fprintf(stderr, "the library has no %s\n", name);
  memcpy(pointer, &symbol, size);
  return symbol != NULL;
}
#define LITERT(type_of_arguments, name) \
  int(*name) type_of_arguments = NULL;  \
  if (!litert_find(engine, "LiteRt" #name, (void *)&name, sizeof name)) return 0

/* A buffer for a tensor as the compiled network wants it. */
static int litert_buffer(litert_engine *engine, void *tensor, void *requirements, void **buffer) {
  union {
    char bytes[512];
    void *alignment;
  } type; /* LiteRtRankedTensorType, which only the library reads */
  LITERT((void *, void *), GetRankedTensorType);
  LITERT((void *, void *, void *, void **), CreateManagedTensorBufferFromRequirements);
  return GetRankedTensorType(tensor, &type) == 0 &&
         CreateManagedTensorBufferFromRequirements(engine->environment, &type, requirements, buffer) == 0;
}

/* Loads the network of a file. 0 where that fails. */
static int litert_open(litert_engine *engine, const char *library, const char *model) {
  void *signature, *tensor, *requirements;
  size_t i;
  memset(engine, 0, sizeof *engine);
  engine->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!engine->library) return fprintf(stderr, "%s\n", dlerror()), 0;
  LITERT((int, const void *, void **), CreateEnvironment);
  LITERT((void *, const char *, void **), CreateModelFromFile);
  LITERT((void **), CreateOptions);
  LITERT((void *, int), SetOptionsHardwareAccelerators);
  LITERT((void *, void *, void *, void **), CreateCompiledModel);
  LITERT((void *, size_t, void **), GetModelSignature);
  LITERT((void *, size_t *), GetNumSignatureOutputs);
  LITERT((void *, size_t, const char **), GetSignatureOutputName);
  LITERT((void *, size_t, void **), GetSignatureInputTensorByIndex);
  LITERT((void *, size_t, void **), GetSignatureOutputTensorByIndex);
  LITERT((void *, size_t, size_t, void **), GetCompiledModelInputBufferRequirements);
  LITERT((void *, size_t, size_t, void **), GetCompiledModelOutputBufferRequirements);
  if (CreateEnvironment(0, NULL, &engine->environment) || CreateOptions(&engine->options) ||
      SetOptionsHardwareAccelerators(engine->options, 1) ||
      CreateModelFromFile(engine->environment, model, &engine->model) ||
      CreateCompiledModel(engine->environment, engine->model, engine->options, &engine->compiled) ||
      GetModelSignature(engine->model, 0, &signature) || GetNumSignatureOutputs(signature, &engine->output_count) ||
      GetSignatureInputTensorByIndex(signature, 0, &tensor) ||
      GetCompiledModelInputBufferRequirements(engine->compiled, 0, 0, &requirements) ||
      !litert_buffer(engine, tensor, requirements, &engine->input) || engine->output_count > 8)
    return 0;
  for (i = 0; i < engine->output_count; i++) {
    if (GetSignatureOutputName(signature, i, &engine->name[i]) || GetSignatureOutputTensorByIndex(signature, i, &tensor) ||
        GetCompiledModelOutputBufferRequirements(engine->compiled, 0, i, &requirements) ||
        !litert_buffer(engine, tensor, requirements, &engine->output[i]))
      return 0;
  }
  return 1;
}

/* Runs the network on the bytes of the input tensor. 0 where that fails. */
static int litert_run(litert_engine *engine, const void *input, size_t input_size) {
  void *at;
  LITERT((void *, void **, int), LockTensorBuffer);
  LITERT((void *), UnlockTensorBuffer);
  LITERT((void *, size_t, size_t, void **, size_t, void **), RunCompiledModel);
  if (LockTensorBuffer(engine->input, &at, 1)) return 0;
  memcpy(at, input, input_size);
  return UnlockTensorBuffer(engine->input) == 0 &&
         RunCompiledModel(engine->compiled, 0, 1, &engine->input, engine->output_count, engine->output) == 0;
}

/* The bytes of the output of that name after a run; the only output goes by any. 0 where there is none. */
static int litert_output(litert_engine *engine, const char *name, void *output, size_t size) {
  void *at;
  size_t i = 0;
  LITERT((void *, void **, int), LockTensorBuffer);
  LITERT((void *), UnlockTensorBuffer);
  if (engine->output_count > 1)
    while (i < engine->output_count && strcmp(engine->name[i], name) != 0) i++;
  if (i == engine->output_count || LockTensorBuffer(engine->output[i], &at, 0)) return 0;
  memcpy(output, at, size);
  return UnlockTensorBuffer(engine->output[i]) == 0;
}

/* Releases what `litert_open` made, also where it failed half-way. */
static void litert_close(litert_engine *engine) {
  void *made[11];
  static const char *const destroy[11] = {
      "LiteRtDestroyTensorBuffer", "LiteRtDestroyTensorBuffer", "LiteRtDestroyTensorBuffer",
      "LiteRtDestroyTensorBuffer", "LiteRtDestroyTensorBuffer", "LiteRtDestroyTensorBuffer",
      "LiteRtDestroyTensorBuffer", "LiteRtDestroyTensorBuffer", "LiteRtDestroyTensorBuffer",
      "LiteRtDestroyCompiledModel", "LiteRtDestroyOptions"};
  void (*function)(void *);
  size_t i;
  memcpy(made, engine->output, sizeof engine->output);
  made[8] = engine->input, made[9] = engine->compiled, made[10] = engine->options;
  for (i = 0; i < 11; i++)
    if (made[i] && litert_find(engine, destroy[i], (void *)&function, sizeof function)) function(made[i]);
  if (engine->model && litert_find(engine, "LiteRtDestroyModel", (void *)&function, sizeof function))
    function(engine->model);
  if (engine->environment && litert_find(engine, "LiteRtDestroyEnvironment", (void *)&function, sizeof function))
    function(engine->environment);
}

#endif
