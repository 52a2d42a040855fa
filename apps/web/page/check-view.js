// SPDX-License-Identifier: Apache-2.0
//
// "Check this device" on the page.

import {check} from './check.js';
import {byId, described, element, fill, save} from './dom.js';
import {litertNetwork} from './port/litert.js';
import {resultOf} from './result.js';
import texts from './texts.js';
import {milliseconds} from './words.js';

const words = texts.check;

/** opened: what `openHere` gives. */
export async function offerCheck(opened, config) {
  if (await navigator.gpu?.requestAdapter().catch(() => null)) byId('accelerator').append(element('option', {value: 'webgpu'}, words.webgpu));
  const button = byId('check');
  button.disabled = false;
  button.addEventListener('click', async () => {
    button.disabled = byId('accelerator').disabled = true;
    byId('check-result').replaceChildren();
    try {
      await run(opened, config);
    } catch (error) {
      byId('check-status').textContent = fill(words.failed, {said: error.message});
    }
    byId('check-progress').hidden = true;
    button.disabled = byId('accelerator').disabled = false;
  });
}

async function run(opened, config) {
  const [status, progress] = [byId('check-status'), byId('check-progress')];
  status.textContent = words.loading;
  progress.hidden = false;
  progress.removeAttribute('value');
  const [golden, facts] = await Promise.all([goldenFiles(), json('model.json')]);
  const used = await withAccelerator(opened, byId('accelerator').value);
  let stage = '';
  const checked = await check(used, golden, async (now) => {
    progress.max = now.all;
    progress.value = now.done;
    // Said once a stage, for those who hear it.
    if (now.stage !== stage) status.textContent = fill(words.running, {...now, stage: words.stage[now.stage]});
    stage = now.stage;
  });
  const result = await resultOf(checked, used, config, facts);
  status.textContent = fill(words.done, {level: checked.level});
  byId('check-result').replaceChildren(...shown(checked, result));
  dispatchEvent(new CustomEvent('checked', {detail: {result, answers: checked.answers}}));
}

async function withAccelerator(opened, accelerator) {
  if (accelerator === opened.network.accelerator) return opened;
  const start = performance.now();
  const network = await litertNetwork(opened.litert, opened.bytes, opened.model, accelerator);
  return {...opened, network, loadMs: performance.now() - start};
}

async function fetched(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  return response;
}

const json = async (path) => (await fetched(path)).json();

async function goldenFiles() {
  const [known, bytes] = await Promise.all([json('golden.json'), fetched('golden.bin').then((response) => response.arrayBuffer())]);
  return {...known, bytes: new Uint8Array(bytes)};
}

function shown(checked, result) {
  const {latency, engine, machine} = result;
  const rows = Object.entries(checked.stages).map(([name, stage]) =>
    [words.rows[name], `${stage.level}: ${fill(words.stages[name], {...stage, most: distance(stage.most)})}`]);
  const on = engine.accelerator === 'wasm' ? fill(words.wasm_said, {build: engine.build})
    : fill(words.webgpu_said, {whole: engine.whole ? '' : words.webgpu_part});
  const three = (one) => fill(words.latency, {p50: milliseconds(one.median_ms), p90: milliseconds(one.p90_ms), p99: milliseconds(one.p99_ms)});
  rows.push(
    [words.rows.repetitions, fill(words.stages.repetitions, checked.repetitions)],
    [words.rows.latency, `${three(latency)} (${latency.image})`],
    [words.rows.invoke, three(latency.stages.invoke)],
    [words.rows.load, fill(words.ms, {value: milliseconds(latency.init_ms)})],
    [words.rows.on, on],
    [words.rows.browser, machine.browser],
  );
  const badge = element('p', {className: `level level-${checked.level}`},
    element('strong', {}, fill(words.level_title, {level: checked.level})), ' ', words.level[checked.level]);
  return [badge, described(rows), ...asJson(result, checked.answers)];
}

const distance = (most) => (most === undefined ? '' : Number.isInteger(most) ? most : most.toExponential(1));

function asJson(result, answers) {
  const text = JSON.stringify(result, null, 1);
  const area = element('textarea', {id: 'check-json', readOnly: true, rows: 8, value: text, spellcheck: false});
  const copied = element('span', {role: 'status', className: 'copied'});
  const copy = element('button', {type: 'button'}, words.copy);
  copy.addEventListener('click', async () => {
    area.select();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      document.execCommand('copy'); // without https
    }
    copied.textContent = words.copied;
  });
  const file = element('button', {type: 'button'}, words.save);
  file.addEventListener('click', () => save('result.json', text, 'application/json'));
  const lines = element('button', {type: 'button'}, words.answers);
  lines.addEventListener('click', () => save('answers.jsonl', answers.map((line) => `${JSON.stringify(line)}\n`).join(''), 'application/jsonl'));
  return [element('label', {for: 'check-json'}, words.json), area, element('div', {className: 'buttons'}, copy, file, lines, copied)];
}
