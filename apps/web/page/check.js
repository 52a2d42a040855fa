// SPDX-License-Identifier: Apache-2.0
//
// The golden pictures in this browser, judged as docs/contract.md, section 9 says, and how long an answer takes.

import {decodeJpeg} from './port/browser.js';
import {toSrgb} from './port/profile.js';
import {decide, decode, measure, resize, sha256, toReal, toTensor} from './port/skin-edge.js';

const EXACT = 1e-6;
const OTHER_KERNELS = 0.04;
const SCORE = 'outlier_score';
const NEAR = [['B', 1, 0.05], ['C', 2, 0.2]]; // largest and mean difference of the input's bytes
const LEVELS = ['A', 'B', 'C', 'refused'];
const [REPETITIONS, REPEATED] = [20, 8];
const [RUNS, WARM_UP] = [200, 5]; // with fewer runs the 99th percentile is noise
const [FEWEST, MOST_MS] = [20, 60000]; // a slow device stops earlier, and has no 99th percentile

export const worst = (levels) => LEVELS[Math.max(0, ...levels.map((level) => LEVELS.indexOf(level)))];

/**
 * The whole check.
 *
 * opened: what `openHere` gives, with the network to be checked. golden: golden.json's lines and timed, and golden.bin's bytes.
 * tell: async ({stage, done, all}), called between the steps. Returns {level, stages, repetitions, latency, answers}:
 * answers are the lines that `skin-edge verify` takes.
 */
export async function check({model, network}, golden, tell) {
  const pictures = await answers(model, network, golden, tell);
  const repetitions = await repeated(model, network, golden, tell);
  const latency = await timed(model, network, golden, tell);
  const stages = judged(model, golden, pictures);
  const level = worst([...Object.values(stages).map((stage) => stage.level), repetitions.equal < repetitions.all ? 'refused' : 'A']);
  return {level, stages, repetitions, latency, answers: pictures.map(({pixels, onGolden, ...line}) => line)};
}

const part = ({bytes}, [from, to]) => bytes.slice(from, to);

// Lets the page draw, at most 20 times a second: a browser makes every pause 4 ms long.
let breathed = 0;
async function breath() {
  if (performance.now() - breathed < 50) return;
  await new Promise((resolve) => { setTimeout(resolve, 0); });
  breathed = performance.now();
}

async function answers(model, network, golden, tell) {
  const found = [];
  for (const [done, line] of golden.lines.entries()) {
    await tell({stage: 'pictures', done, all: golden.lines.length});
    await breath();
    found.push(await answerOf(model, network, golden, line));
  }
  return found;
}

async function answerOf(model, network, golden, line) {
  const {file} = line;
  try {
    const upright = await decode(model, part(golden, line.bytes), decodeJpeg, toSrgb);
    const pixels = resize(model, upright);
    const outputs = await network.run(toTensor(model, pixels));
    const features = model.checks.length ? measure(model, pixels, outputs) : null;
    const answer = decide(model, toReal(model, 'probabilities', outputs.probabilities), features);
    const text = Array.from(pixels, (byte) => String.fromCharCode(byte)).join('');
    return {
      file,
      upright: {width: upright.width, height: upright.height, sha256: sha256(upright.data)},
      input: {sha256: sha256(pixels), base64: btoa(text)},
      probabilities: answer.probabilities, label: answer.label, decisions: answer.decisions,
      ...(features && {features, assessable: answer.assessable, reasons: answer.reasons.map(({reason}) => reason)}),
      ...(answer.possible && {possible: answer.possible}),
      pixels,
      onGolden: line.input ? await onGolden(model, network, golden, line) : null,
    };
  } catch (error) {
    if (error.name !== 'CannotAssess') throw error;
    return {file, error: error.message};
  }
}

// The network by itself: the probabilities for the input as it should be.
async function onGolden(model, network, golden, line) {
  const {probabilities} = await network.run(toTensor(model, part(golden, line.input.bytes)));
  return toReal(model, 'probabilities', probabilities);
}

function judged(model, golden, found) {
  const pairs = golden.lines.map((line, i) => ({line, answer: found[i]}));
  const good = pairs.filter(({line}) => !('error' in line));
  const broken = pairs.filter(({line}) => 'error' in line);
  const shied = good.some(({answer}) => 'error' in answer);
  const reported = good.filter(({answer}) => !('error' in answer));
  const floor = shied ? (reported.length ? 'C' : 'refused') : 'A'; // it refuses what should be answered
  const count = (holds) => reported.filter(holds).length;
  const stage = (level, equal, rest = {}) => ({level: worst([level, floor]), equal, all: good.length, ...rest});
  const decoded = count(({line, answer}) => answer.upright.sha256 === line.upright.sha256);
  const inputs = reported.map(({line, answer}) => distance(answer.pixels, part(golden, line.input.bytes)));
  const away = Math.max(0, ...reported.map(({line, answer}) => Math.max(...line.probabilities.map((p, i) => Math.abs(p - answer.onGolden[i])))));
  const decisions = reported.flatMap(({line, answer}) => line.decisions.map((right, i) => ({right, given: answer.decisions[i]})));
  const otherwise = decisions.filter(({right, given}) => right.decision !== given.decision);
  const excused = otherwise.filter(({right}) => right.borderline).length;
  const wrong = otherwise.length - excused;
  const labels = count(({answer}) => answer.label === model.labels[first(answer.probabilities)].code);
  const refused = broken.filter(({answer}) => 'error' in answer).length;
  return {
    decode: stage(decoded === reported.length ? 'A' : worst(inputs.map(({level}) => level).concat('B')), decoded),
    resize: stage(worst(inputs.map(({level}) => level)), inputs.filter(({most}) => most === 0).length, {most: Math.max(0, ...inputs.map(({most}) => most))}),
    engine: stage(away <= EXACT ? 'A' : away <= OTHER_KERNELS ? 'C' : 'refused', reported.length, {most: away}),
    label: stage(labels === reported.length ? 'A' : 'refused', labels),
    decisions: {level: wrong ? 'refused' : excused ? 'C' : 'A', equal: decisions.length - wrong, all: decisions.length, excused},
    ...(model.checks.length && {assessment: assessments(model, golden, reported)}),
    ...(model.possible && {possible: possibleClasses(model, reported)}),
    refusals: {level: refused === broken.length ? 'A' : 'refused', equal: refused, all: broken.length},
  };
}

// What cannot be assessed, and why: the same for the same bytes, but where other kernels move the network's score over its limit.
function assessments(model, golden, reported) {
  const otherwise = reported.filter(({line, answer}) => String(answer.reasons) !== String(line.reasons));
  const measured = ({line, answer}) => distance(answer.pixels, part(golden, line.input.bytes)).most > 0 ||
    Object.keys(answer.features).every((name) => name === SCORE || answer.features[name] === line.features[name]);
  const near = ({line}) => (reason) => model.checks.some((check) => check.reason === reason && check.feature === SCORE &&
    [check.below, check.above].some((limit) => Math.abs(line.features[SCORE] - (limit ?? Infinity)) <= (check.borderline_within ?? 0)));
  const excused = otherwise.filter((pair) => {
    const [right, given] = [pair.line.reasons, pair.answer.reasons];
    const apart = [...right, ...given].filter((reason) => right.includes(reason) !== given.includes(reason));
    return distance(pair.answer.pixels, part(golden, pair.line.input.bytes)).most > 0 || (apart.length > 0 && apart.every(near(pair)));
  }).length;
  const wrong = otherwise.length - excused;
  const level = wrong || !reported.every(measured) ? 'refused' : excused ? 'C' : 'A';
  return {level, equal: reported.length - wrong, all: reported.length, excused};
}

function possibleClasses(model, reported) {
  const otherwise = reported.filter(({line, answer}) => String(answer.possible) !== String(line.possible));
  const excused = otherwise.filter(({line, answer}) => model.labels.every(({code}, i) =>
    line.possible.includes(code) === answer.possible.includes(code) || Math.abs(line.probabilities[i] - model.possible[i]) <= OTHER_KERNELS ||
    Math.max(...line.probabilities) - line.probabilities[i] <= OTHER_KERNELS)).length;
  const wrong = otherwise.length - excused;
  return {level: wrong ? 'refused' : excused ? 'C' : 'A', equal: reported.length - wrong, all: reported.length, excused};
}

const first = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

function distance(pixels, right) {
  let [most, sum] = [0, 0];
  for (let i = 0; i < right.length; i++) {
    const difference = Math.abs(pixels[i] - right[i]);
    most = Math.max(most, difference);
    sum += difference;
  }
  const mean = sum / right.length;
  const level = most === 0 ? 'A' : NEAR.find(([, limit, average]) => most <= limit && mean <= average)?.[0] ?? 'refused';
  return {most, mean, level};
}

/** REPEATED golden inputs REPETITIONS times, in changed order: {times, equal, all}. */
async function repeated(model, network, golden, tell) {
  const good = golden.lines.filter((line) => line.input);
  const lines = Array.from({length: REPEATED}, (_, i) => good[Math.floor((i * good.length) / REPEATED)]);
  const once = new Map();
  const changed = new Set();
  for (let turn = 0; turn < REPETITIONS; turn++) {
    await tell({stage: 'repetitions', done: turn, all: REPETITIONS});
    for (let i = 0; i < lines.length; i++) {
      const line = lines[(turn % 2 ? lines.length - 1 - i : i + turn) % lines.length];
      await breath();
      const outputs = await network.run(toTensor(model, part(golden, line.input.bytes)));
      const digest = sha256(...Object.keys(outputs).sort().map((name) => new Uint8Array(outputs[name].buffer)));
      if (!once.has(line.file)) once.set(line.file, digest);
      else if (once.get(line.file) !== digest) changed.add(line.file);
    }
  }
  return {times: REPETITIONS, equal: lines.length - changed.size, all: lines.length};
}

/** RUNS answers to the picture that `bench` takes, after WARM_UP: `skin-edge bench`'s figures. */
async function timed(model, network, golden, tell) {
  const file = part(golden, golden.timed.bytes);
  const rows = [];
  const begun = performance.now();
  for (let run = -WARM_UP; run < RUNS && (run < FEWEST || performance.now() - begun < MOST_MS); run++) {
    if (run % 10 === 0) await tell({stage: 'latency', done: Math.max(0, run), all: RUNS});
    await breath();
    const start = performance.now();
    const upright = await decode(model, file, decodeJpeg, toSrgb);
    const decoded = performance.now();
    const pixels = resize(model, upright);
    if (model.checks.length) measure(model, pixels);
    const tensor = toTensor(model, pixels);
    const prepared = performance.now();
    await network.run(tensor);
    const end = performance.now();
    rows.push([decoded - start, prepared - decoded, end - prepared]);
  }
  const kept = rows.slice(WARM_UP);
  const whole = kept.map((row) => row.reduce((sum, value) => sum + value, 0));
  return {
    warmup_first_ms: rows[0].reduce((sum, value) => sum + value, 0),
    ...summary(whole),
    stages: Object.fromEntries(['decode', 'preprocess', 'invoke'].map((stage, i) => [stage, summary(kept.map((row) => row[i]))])),
    num_runs: kept.length, warmup_runs: WARM_UP, runs_ms: whole, num_threads: 1,
    image: golden.timed.image, image_source: 'generated',
  };
}

function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const quantile = (q) => { // linear between the two nearest, as NumPy's
    const at = (sorted.length - 1) * q;
    const low = Math.floor(at);
    return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
  };
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  return {median_ms: quantile(0.5), avg_ms: mean, std_ms: Math.sqrt(variance), p5_ms: quantile(0.05), p90_ms: quantile(0.9),
    p95_ms: quantile(0.95), p99_ms: values.length >= RUNS ? quantile(0.99) : null};
}
