// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a picture -> an answer, here or, where this browser cannot, by the server that the site names.

import {decodeJpeg} from './port/browser.js';
import {litertNetwork} from './port/litert.js';
import {toSrgb} from './port/profile.js';
import {CannotAssess, assess, inWords, openModel, toReal} from './port/skin-edge.js';
import {loadRuntime, runs} from './runtime.js';

const MAP = 'class_activation_map';
const MOST_BYTES = 2 ** 28;

/** Something that is missing here, not in the picture. code: a key of texts.trouble. */
export class Trouble extends Error {
  constructor(code, said = '') {
    super(`${code} ${said}`);
    Object.assign(this, {code, said});
  }
}

/**
 * Opens model.tflite for this browser.
 *
 * Returns {model, bytes, litert, build, network, loadMs, assess}. Throws Trouble.
 */
export async function openHere(config) {
  if (!runs()) throw new Trouble('wasm');
  const bytes = await modelBytes();
  let model;
  try {
    model = openModel(bytes);
  } catch (error) {
    throw new Trouble('model', error.message);
  }
  try {
    const {litert, build} = await loadRuntime(config.runtime);
    const start = performance.now();
    const network = await litertNetwork(litert, bytes, model);
    return {model, bytes, litert, build, network, loadMs: performance.now() - start, assess: (file) => assessHere(model, network, file)};
  } catch (error) {
    throw new Trouble('runtime', error.message);
  }
}

async function modelBytes() {
  try {
    const response = await fetch('model.tflite');
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new Trouble('model', error.message);
  }
}

async function bytesOf(file) {
  if (file.size === 0) throw new CannotAssess('empty');
  if (file.size > MOST_BYTES) throw new CannotAssess('too large');
  return new Uint8Array(await file.arrayBuffer());
}

/**
 * A Blob -> what `assess` returns, also of a picture beyond the model's limits (assessable: false), map: {rows, columns, values} or null,
 * and ms. Throws CannotAssess.
 */
async function assessHere(model, network, file) {
  const bytes = await bytesOf(file);
  const start = performance.now();
  let outputs;
  const engine = async (tensor) => {
    outputs = await network.run(tensor);
    return outputs;
  };
  const answer = await assess(model, bytes, {decodeJpeg, toSrgb, engine, assessAnything: true});
  const ms = performance.now() - start;
  return {...answer, map: mapOf(model, outputs), ms};
}

function mapOf(model, outputs) {
  const output = model.outputs.find(({name}) => name === MAP);
  if (!output || !outputs[MAP]) return null;
  const [, rows, columns] = output.shape;
  return {rows, columns, values: toReal(model, MAP, outputs[MAP])};
}

/** The same by the server: {model, assess}. The photograph leaves the device. */
export async function openServer(config) {
  const model = openModel(await modelBytes());
  return {model, assess: (file) => assessByServer(model, config.server, file)};
}

async function assessByServer(model, api, file) {
  await bytesOf(file);
  const form = new FormData();
  form.append('picture', file, 'picture'); // its name stays here
  let response, said;
  try {
    response = await fetch(`${api}/predict?heatmap=1`, {method: 'POST', body: form, credentials: 'same-origin'});
    said = await response.json();
  } catch (error) {
    throw new CannotAssess(response ? `server: HTTP ${response.status}` : 'no network');
  }
  const record = said.answers?.[0];
  if (!record) throw new CannotAssess(`server: ${said.error ?? `HTTP ${response.status}`}`);
  if (record.reasons && record.error) throw new CannotAssess(inWords(record.reasons), record.reasons);
  if (record.error) throw new CannotAssess(`server: ${record.error}`);
  return {
    assessable: true,
    possible: record.possible ?? null,
    label: record.label,
    probabilities: model.labels.map(({code}) => record.probabilities[code]),
    decisions: record.decisions,
    notice: model.notice,
    heatmap: typeof record.heatmap === 'string' && record.heatmap.startsWith('data:image/png;base64,') ? record.heatmap : null,
  };
}
