// SPDX-License-Identifier: Apache-2.0
//
// The network by LiteRT.js, which is given in: import * as litert from '@litertjs/core', after loadLiteRt(...).

export async function litertEngine(litert, bytes, model) {
  const compiled = await litert.loadAndCompile(bytes, {accelerator: 'wasm'});
  const {shape, dtype} = model.input;
  return async (tensor) => {
    const input = new litert.Tensor(dtype === 'int8' ? Int32Array.from(tensor) : tensor, shape);
    const outputs = await compiled.run(input);
    const named = Array.isArray(outputs) ? outputs : Object.values(outputs);
    const details = compiled.getOutputDetails();
    const position = details.length === 1 ? 0 : details.findIndex(({name}) => name === 'probabilities');
    const values = (await named[position].data()).slice();
    input.delete();
    named.forEach((output) => output.delete());
    return values;
  };
}
