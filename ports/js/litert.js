// SPDX-License-Identifier: Apache-2.0
//
// The network by LiteRT.js, which is given in: import * as litert from '@litertjs/core', after loadLiteRt(...).

/** async (tensor) -> {name of an output: its values}: what `assess` takes. */
export async function litertEngine(litert, bytes, model) {
  return (await litertNetwork(litert, bytes, model)).run;
}

/**
 * All outputs of the network.
 *
 * accelerator: 'wasm' or 'webgpu'. Returns {run, accelerator, whole}: run, async (tensor) -> {name of an output: its values}; accelerator,
 * what LiteRT.js took; whole, whether that runs every operator.
 */
export async function litertNetwork(litert, bytes, model, accelerator = 'wasm') {
  const compiled = await litert.loadAndCompile(bytes, {accelerator});
  const {shape, dtype} = model.input;
  const names = compiled.getOutputDetails().map(({name}, _, all) => (all.length === 1 ? 'probabilities' : name));
  const run = async (tensor) => {
    const input = new litert.Tensor(dtype === 'int8' ? Int32Array.from(tensor) : tensor, shape);
    const outputs = await compiled.run(input);
    const values = {};
    for (const [position, output] of (Array.isArray(outputs) ? outputs : Object.values(outputs)).entries()) {
      const near = output.accelerator === 'wasm' ? output : await output.moveTo('wasm');
      values[names[position]] = (await near.data()).slice();
      near.delete();
    }
    input.delete();
    return values;
  };
  return {run, accelerator: compiled.options.accelerator, whole: compiled.isFullyAccelerated};
}
