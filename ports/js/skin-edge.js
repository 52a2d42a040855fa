// SPDX-License-Identifier: Apache-2.0
//
// A skin-edge model file and a picture -> decisions, as CONTRACT.md defines them. ES module for browsers and Node, no
// dependency. JPEG decoding and the network are given to it: see README.md. Whatever cannot be answered throws
// CannotAssess; nothing returns a class then.

/**
 * reasons: [{reason, text, remedy}] where the picture is beyond the model's limits; else none. answer: then what `decide`
 * returned, for logs; it must not be shown as an answer.
 */
export class CannotAssess extends Error {
  constructor(reason, reasons = [], answer = null) {
    super(`cannot assess: ${reason}`);
    this.name = 'CannotAssess';
    this.reasons = reasons;
    this.answer = answer;
  }
}

function require(holds, reason) {
  if (!holds) throw new CannotAssess(reason);
}

// A character per byte. Not TextDecoder('latin1'), which is windows-1252 in browsers.
const text = (bytes, from, to) => Array.from(bytes.subarray(from, to), (byte) => String.fromCharCode(byte)).join('');
const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

// ---- The model file ----

const STEPS = [
  {step: 'decode', scaled: 'none'},
  {step: 'orient', by: 'EXIF orientation', to: 'upright'},
  {step: 'colour', space: 'sRGB', bits: 8, channels: 'RGB', profile: 'embedded ICC profile applied', alpha: 'laid over white'},
  {step: 'crop', kind: 'none'},
  {step: 'resize', height: null, width: null, aspect: 'stretched', kernel: 'bilinear', antialias: true, // null: the model's own
    arithmetic: 'integer', passes: 'horizontal, then vertical'},
  {step: 'normalize', formula: '(pixel - mean) / std', mean: null, std: null},
];

const RULES = {
  score: "sum of the probabilities of a threshold's classes, in the order of labels, float64",
  refer: 'score >= threshold',
  below: 'score < threshold',
  borderline: '|score - threshold| < borderline_within',
  ties: 'the first label',
};

const FEATURES = ['luma', 'black', 'white', 'clipped', 'red_green', 'blue_green', 'contrast', 'detail', 'ridges'];
const SCORE = 'outlier_score';

/**
 * Reads and checks a whole .tflite file, its seal included.
 *
 * bytes: Uint8Array. Returns {width, height, labels: [{code, name, malignant}], thresholds, checks, possible, notice, maxPixels, input,
 * outputs, ...}, which the other functions take.
 */
export function openModel(bytes) {
  const {network, labels, raw} = archive(bytes);
  let contract;
  try {
    contract = JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(raw));
  } catch {
    throw new CannotAssess("the model's metadata.json is malformed");
  }
  require(contract?.format === 'skin-edge-model', 'the model is no .tflite file of skin-edge');
  require([4, 6].includes(contract.format_version), "the model's contract is of a version that is not known here");
  require(sealOf(network, labels, raw, contract.seal) === contract.seal,
    'the model was changed since it was sealed: copy it anew');
  require(!('metadata' in contract), 'the model asks for what is known of the patient');
  try {
    return read(contract, new TextDecoder().decode(labels));
  } catch (error) {
    if (error instanceof CannotAssess) throw error;
    throw new CannotAssess("the model's metadata.json is malformed"); // a field of another type
  }
}

function read(contract, labelsFile) {
  checkSteps(contract.preprocessing);
  const [, , , , {height, width}, {mean, std}] = contract.preprocessing;
  const {input, outputs, thresholds, decisions, limits, notice} = contract;
  const codes = contract.labels?.map?.((label) => label?.code);
  const listed = codes?.map((code) => `${code}\n`).join('');
  const well = [
    isSize(height) && isSize(width) && [mean, std].every((v) => v?.length === 3 && v.every(isNumber)) && std.every((v) => v > 0),
    codes?.length > 0 && new Set(codes).size === codes.length && codes.every((code) => typeof code === 'string' && code),
    contract.labels?.every((l) => typeof l.name === 'string' && l.name && [true, false, null].includes(l.malignant)),
    listed === labelsFile,
    String(input?.shape) === String([1, height, width, 3]) && isTensor(input),
    ['unchanged', 'quantized', 'normalized'].includes(input?.bytes) && (input.bytes !== 'unchanged' || input.dtype === 'uint8'),
    Array.isArray(outputs) && outputs.every(isTensor),
    String(outputs?.find?.((o) => o.name === 'probabilities')?.shape) === String([1, codes?.length]),
    thresholds?.every?.((row) => typeof row?.name === 'string' && row.name && isNumber(row.threshold) &&
      row.threshold >= 0 && row.threshold <= 1 && isNumber(row.borderline_within) && row.borderline_within >= 0 &&
      Array.isArray(row.classes) && row.classes.every((code) => codes.includes(code))),
    Object.entries(RULES).every(([name, rule]) => decisions?.[name] === rule),
    isNumber(limits?.max_pixels) && limits.max_pixels >= 1 && typeof notice === 'string' && notice !== '',
    outputs?.every?.((o) => o.name !== SCORE || String(o.shape) === '1,1'),
  ];
  require(well.every(Boolean), `the model's metadata.json is malformed or unknown here (${well.findIndex((w) => !w)})`);
  const {checks, possible} = contract.format_version === 6 ? limitsOf(contract) : {checks: [], possible: null};
  return {width, height, mean, std, input, outputs, labels: contract.labels, thresholds, checks, possible, notice,
    maxPixels: limits.max_pixels, contract};
}

// When a picture cannot be assessed, and from which probability each class is possible.
function limitsOf({assessment = {version: 1, checks: []}, possible, outputs, labels}) {
  require(assessment?.version === 1, "the model's assessment is of a version that is not known here");
  const {checks} = assessment;
  const said = (text, least) => typeof text === 'string' && text.length >= least;
  const isLimit = (value) => value === undefined || value === null || isNumber(value);
  const isCheck = (check) => isLimit(check?.below) && isLimit(check?.above) && isNumber(check?.below ?? check?.above) &&
    said(check.reason, 1) && said(check.text, 1) && said(check.remedy, 0) &&
    (check.feature === SCORE ? outputs.some(({name}) => name === SCORE) : FEATURES.includes(check.feature));
  require(Array.isArray(checks) && checks.every(isCheck), "the model's assessment is malformed or unknown here");
  const thresholds = possible === undefined ? null : possible?.thresholds;
  require(thresholds === null || (Array.isArray(thresholds) && thresholds.length === labels.length && thresholds.every(isNumber)),
    "the model's possible classes are malformed");
  return {checks, possible: thresholds};
}

const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
const isSize = (value) => Number.isInteger(value) && value >= 1 && value <= 4096;

function isTensor(tensor) {
  if (!Array.isArray(tensor?.shape)) return false;
  if (tensor.dtype === 'float32' && tensor.scale === undefined) return true;
  return ['uint8', 'int8', 'float32'].includes(tensor.dtype) && isNumber(tensor.scale) && tensor.scale > 0 &&
    Number.isInteger(tensor.zero_point) && tensor.zero_point >= -128 && tensor.zero_point <= 255;
}

function checkSteps(steps) {
  require(Array.isArray(steps) && steps.length === STEPS.length, 'the model asks for preprocessing that is not known here');
  steps.forEach((step, position) => {
    const own = STEPS[position];
    const names = Object.keys(step ?? {}).filter((name) => name !== 'note');
    const same = names.every((name) => name in own && (own[name] === null || own[name] === step[name]));
    require(same && names.length === Object.keys(own).length, 'the model asks for preprocessing that is not known here');
  });
}

// The two members of the zip archive behind the network.
function archive(bytes) {
  const no = () => new CannotAssess('the model is no .tflite file of skin-edge, or is cut off');
  if (bytes.length < 30 || text(bytes, 4, 8) !== 'TFL3' || text(bytes, -22, -18) !== 'PK\x05\x06') throw no();
  const numbers = view(bytes);
  const end = bytes.length - 22;
  const found = {};
  let start = bytes.length;
  try {
    let at = numbers.getUint32(end + 16, true);
    for (let count = numbers.getUint16(end + 10, true); count > 0; count--) {
      if (text(bytes, at, at + 4) !== 'PK\x01\x02') throw no();
      const [length, extra, comment] = [28, 30, 32].map((offset) => numbers.getUint16(at + offset, true));
      const name = text(bytes, at + 46, at + 46 + length);
      const local = numbers.getUint32(at + 42, true);
      const size = numbers.getUint32(at + 24, true);
      const from = local + 30 + numbers.getUint16(local + 26, true) + numbers.getUint16(local + 28, true);
      const plain = numbers.getUint16(at + 10, true) === 0 && (numbers.getUint16(at + 8, true) & 1) === 0;
      if (text(bytes, local, local + 4) !== 'PK\x03\x04' || from + size > end || name in found || !plain) throw no();
      found[name] = bytes.subarray(from, from + size);
      start = Math.min(start, local);
      at += 46 + length + extra + comment;
    }
  } catch {
    throw no(); // an offset outside the file
  }
  if (!found['labels.txt'] || !found['metadata.json']) throw no();
  return {network: bytes.subarray(0, start), labels: found['labels.txt'], raw: found['metadata.json']};
}

function sealOf(network, labels, raw, seal) {
  if (typeof seal !== 'string' || !/^[0-9a-f]{64}$/.test(seal)) return null;
  const blank = raw.slice();
  const where = text(raw);
  for (let at = where.indexOf(seal); at >= 0; at = where.indexOf(seal, at + 64)) blank.fill(0x30, at, at + 64);
  return sha256(network, labels, blank);
}

const K = Uint32Array.from({length: 64}, (_, i) => fraction(Math.cbrt(prime(i))));
const START = Uint32Array.from({length: 8}, (_, i) => fraction(Math.sqrt(prime(i))));
function fraction(value) {
  return Math.floor((value - Math.floor(value)) * 2 ** 32);
}
function prime(position) {
  for (let n = 2; ; n++) {
    let isPrime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) isPrime = false;
    if (isPrime && position-- === 0) return n;
  }
}

/** SHA-256 of byte arrays one after the other, in hexadecimal. crypto.subtle is missing where a page has no https. */
export function sha256(...parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(Math.ceil((length + 9) / 64) * 64);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  bytes[length] = 0x80;
  const numbers = view(bytes);
  numbers.setBigUint64(bytes.length - 8, BigInt(length) * 8n);
  const state = START.slice();
  const w = new Uint32Array(64);
  const turn = (x, by) => (x >>> by) | (x << (32 - by));
  for (let block = 0; block < bytes.length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = numbers.getUint32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
      const [a, b] = [w[i - 15], w[i - 2]];
      w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] += value; });
  }
  return Array.from(state, (value) => value.toString(16).padStart(8, '0')).join('');
}

// ---- What a picture's file says ----

const isPng = (file) => text(file, 0, 8) === '\x89PNG\r\n\x1a\n';
const isJpeg = (file) => text(file, 0, 3) === '\xff\xd8\xff';

/** The EXIF orientation of a block in TIFF form, with or without "Exif\0\0" before it: 1 to 8. */
export function exifOrientation(block) {
  if (text(block, 0, 6) === 'Exif\0\0') block = block.subarray(6);
  const order = text(block, 0, 2);
  if (block.length < 8 || (order !== 'II' && order !== 'MM')) return 1;
  const little = order === 'II';
  const numbers = view(block);
  try {
    if (numbers.getUint16(2, little) !== 42) return 1;
    let at = numbers.getUint32(4, little);
    for (let count = numbers.getUint16(at, little), entry = at + 2; count > 0; count--, entry += 12) {
      const kind = numbers.getUint16(entry + 2, little);
      numbers.getUint32(entry + 8, little); // a whole entry
      if (numbers.getUint16(entry, little) !== 0x0112) continue;
      if (numbers.getUint32(entry + 4, little) !== 1 || (kind !== 3 && kind !== 4)) return 1;
      const value = kind === 3 ? numbers.getUint16(entry + 8, little) : numbers.getUint32(entry + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it ends too early
  }
  return 1;
}

// The segments of a JPEG before its pixels: {marker, from, to}, from the marker to behind the segment.
function* segments(file) {
  for (let at = 2; at + 4 <= file.length && file[at] === 0xff;) {
    const marker = file[at + 1];
    if (marker === 0xff) {
      at++; // a fill byte
      continue;
    }
    if (marker === 0xda || marker === 0xd9) return;
    const to = at + 2 + file[at + 2] * 256 + file[at + 3];
    if (to > file.length) return;
    yield {marker, from: at, to};
    at = to;
  }
}

// The chunks of a PNG: {name, body, crc, from}.
function* chunks(file) {
  const numbers = view(file);
  for (let at = 8; at + 12 <= file.length;) {
    const length = numbers.getUint32(at);
    if (at + 12 + length > file.length) return;
    const end = at + 8 + length;
    yield {name: text(file, at + 4, at + 8), body: file.subarray(at + 8, end), crc: numbers.getUint32(end), from: at + 4};
    at = end + 4;
  }
}

/** The EXIF orientation of a JPEG or PNG file: 1 to 8, 1 where there is none. */
export function orientationOf(file) {
  if (isPng(file)) for (const {name, body} of chunks(file)) if (name === 'eXIf') return exifOrientation(body);
  if (isJpeg(file))
    for (const {marker, from, to} of segments(file))
      if (marker === 0xe1 && text(file, from + 4, from + 10) === 'Exif\0\0') return exifOrientation(file.subarray(from + 4, to));
  return 1;
}

/** Width, height, channels and bits of a JPEG from its header. */
export function jpegHeader(file) {
  for (const {marker, from} of segments(file))
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const [bits, top, below, left, right, channels] = file.subarray(from + 4, from + 10);
      return {bits, height: top * 256 + below, width: left * 256 + right, channels, marker};
    }
  throw new CannotAssess('the picture is damaged or truncated');
}

/** The ICC profile of a JPEG, null where there is none or a part is missing. */
export function jpegProfile(file) {
  const parts = [];
  let count = 0;
  for (const {marker, from, to} of segments(file))
    if (marker === 0xe2 && text(file, from + 4, from + 16) === 'ICC_PROFILE\0') {
      count = file[from + 17];
      parts[file[from + 16]] = file.subarray(from + 18, to);
    }
  if (!count || parts.length !== count + 1 || parts.slice(1).includes(undefined)) return null;
  return Uint8Array.from(parts.slice(1).flatMap((part) => [...part]));
}

/**
 * Whether a JPEG goes on to its end marker. Where it does not, rows may be missing, which not every browser reports: Firefox fills
 * them up.
 */
export function jpegEnds(file) {
  let at = 2;
  for (;;) {
    at = file.indexOf(0xff, at);
    if (at < 0 || at + 2 > file.length) return false;
    const marker = file[at + 1];
    if (marker === 0xd9) return true;
    if (marker === 0xff) at += 1; // a fill byte
    else if (marker === 0 || (marker >= 0xd0 && marker <= 0xd7)) at += 2; // within a scan
    else at += 2 + file[at + 2] * 256 + file[at + 3];
    if (!(at <= file.length)) return false;
  }
}

/** A JPEG without the segments that a browser would act upon: EXIF, ICC profile and XMP. This port reads them itself. */
export function plainJpeg(file) {
  const parts = [file.subarray(0, 2)];
  let at = 2;
  for (const {marker, from, to} of segments(file)) {
    if (marker !== 0xe1 && marker !== 0xe2) parts.push(file.subarray(from, to));
    at = to;
  }
  parts.push(file.subarray(at));
  const plain = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  at = 0;
  for (const part of parts) {
    plain.set(part, at);
    at += part.length;
  }
  return new Blob([plain], {type: 'image/jpeg'}); // of one part: Firefox decodes no picture in several
}

// ---- PNG ----

const CRC = Uint32Array.from({length: 256}, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

async function inflated(bytes, most) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  const parts = [];
  let length = 0;
  try {
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
      if (length >= most) break; // what follows the last row is of no interest
    }
  } catch {
    // damaged or truncated; zlib reports it also where only its checksum is missing
    if (length < most) throw new CannotAssess('the picture is damaged or truncated');
  }
  reader.cancel().catch(() => {});
  const out = new Uint8Array(Math.min(length, most));
  let at = 0;
  for (const part of parts) {
    const kept = part.subarray(0, out.length - at);
    out.set(kept, at);
    at += kept.length;
  }
  return out;
}

const CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4};
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

const ANSWERED_BY = ['tRNS', 'iCCP', 'eXIf']; // chunks that are not critical, and that the answer follows from
const ONCE = ['IHDR', 'PLTE', ...ANSWERED_BY];

/**
 * A PNG's pixels at full depth, which a canvas does not give: it multiplies by alpha and cuts to 8 bits.
 *
 * Returns {picture: {data, width, height, layout}, profile: Uint8Array or null}.
 */
export async function decodePng(file, maxPixels) {
  let head, palette, transparent, profile = null;
  const data = [];
  const seen = new Set();
  let ended = false;
  for (const {name, body, crc, from} of chunks(file)) {
    const counts = name[0] === name[0].toUpperCase() || ANSWERED_BY.includes(name);
    if (counts) require(crc32(file.subarray(from, from + 4 + body.length)) === crc, 'the picture is damaged or truncated');
    if (ONCE.includes(name)) require(!seen.has(name), 'the picture is damaged or truncated');
    seen.add(name);
    if (name === 'IHDR' && body.length === 13) head = body;
    if (name === 'PLTE') palette = body;
    if (name === 'tRNS') transparent = body;
    if (name === 'IDAT') data.push(body);
    if (name === 'iCCP') profile = await profileIn(body);
    if (name === 'IEND') ended = true;
    if (ended) break;
  }
  require(head && data.length > 0, 'the picture is damaged or truncated');
  const numbers = view(head);
  const [width, height] = [numbers.getUint32(0), numbers.getUint32(4)];
  const [depth, colour, , , interlaced] = head.subarray(8);
  require(width > 0 && height > 0, 'the picture has no pixels');
  require(width * height <= maxPixels, 'the picture has more pixels than the limit');
  const depths = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}[colour];
  require(depths?.includes(depth) && interlaced <= 1 && (colour !== 3 || palette), 'the picture is damaged or truncated');
  const bits = CHANNELS[colour] * depth;
  const passes = (interlaced ? PASSES : [[0, 0, 1, 1]])
    .map(([x, y, dx, dy]) => ({x, y, dx, dy, columns: Math.ceil((width - x) / dx), rows: Math.ceil((height - y) / dy)}))
    .filter(({columns, rows}) => columns > 0 && rows > 0);
  const size = passes.reduce((sum, {columns, rows}) => sum + rows * (1 + Math.ceil((columns * bits) / 8)), 0);
  const raw = await inflated(new Blob(data), size);
  require(raw.length === size, 'the picture is damaged or truncated');
  const samples = depth === 16 ? new Uint16Array(width * height * CHANNELS[colour]) : new Uint8Array(width * height * CHANNELS[colour]);
  let at = 0;
  for (const pass of passes) {
    const rowBytes = Math.ceil((pass.columns * bits) / 8);
    let above = new Uint8Array(rowBytes);
    for (let row = 0; row < pass.rows; row++) {
      const line = raw.subarray(at + 1, at + 1 + rowBytes);
      unfilter(raw[at], line, above, Math.max(1, bits >> 3));
      unpack(line, samples, pass, row, width, CHANNELS[colour], depth);
      above = line;
      at += 1 + rowBytes;
    }
  }
  return {picture: expanded({samples, width, height, depth, colour, palette, transparent}), profile};
}

async function profileIn(body) {
  try {
    return await inflated(body.subarray(body.indexOf(0) + 2), 2 ** 22);
  } catch {
    return null; // damaged: the samples count as sRGB
  }
}

function unfilter(kind, line, above, distance) {
  require(kind <= 4, 'the picture is damaged or truncated');
  for (let i = 0; i < line.length; i++) {
    const left = i >= distance ? line[i - distance] : 0;
    const corner = i >= distance ? above[i - distance] : 0;
    if (kind === 1) line[i] += left;
    else if (kind === 2) line[i] += above[i];
    else if (kind === 3) line[i] += (left + above[i]) >> 1;
    else if (kind === 4) {
      const p = left + above[i] - corner;
      const [a, b, c] = [Math.abs(p - left), Math.abs(p - above[i]), Math.abs(p - corner)];
      line[i] += a <= b && a <= c ? left : b <= c ? above[i] : corner;
    }
  }
}

function unpack(line, samples, {x, y, dx, dy, columns}, row, width, channels, depth) {
  for (let i = 0; i < columns * channels; i++) {
    let value;
    if (depth === 8) value = line[i];
    else if (depth === 16) value = line[2 * i] * 256 + line[2 * i + 1];
    else value = (line[(i * depth) >> 3] >> (8 - depth - ((i * depth) & 7))) & ((1 << depth) - 1);
    const column = x + Math.floor(i / channels) * dx;
    samples[((y + row * dy) * width + column) * channels + (i % channels)] = value;
  }
}

function expanded({samples, width, height, depth, colour, palette, transparent}) {
  const count = width * height;
  if (colour === 3) {
    const data = new Uint8Array(4 * count);
    for (let i = 0; i < count; i++) {
      const index = samples[i];
      for (let c = 0; c < 3; c++) data[4 * i + c] = palette[3 * index + c] ?? 0;
      data[4 * i + 3] = transparent?.[index] ?? 255;
    }
    return {data, width, height, layout: 'rgba'};
  }
  const layout = {0: 'grey', 2: 'rgb', 4: 'greyAlpha', 6: 'rgba'}[colour];
  if (!transparent || depth === 16 || colour > 2) {
    if (depth < 8) for (let i = 0; i < count; i++) samples[i] *= 255 / ((1 << depth) - 1);
    return {data: samples, width, height, layout};
  }
  const channels = CHANNELS[colour];
  const key = Array.from({length: channels}, (_, c) => (transparent[2 * c] * 256 + transparent[2 * c + 1]) & ((1 << depth) - 1));
  const data = new Uint8Array((channels + 1) * count);
  for (let i = 0; i < count; i++) {
    const pixel = samples.subarray(channels * i, channels * (i + 1));
    data[(channels + 1) * i + channels] = pixel.every((value, c) => value === key[c]) ? 0 : 255;
    pixel.forEach((value, c) => { data[(channels + 1) * i + c] = depth < 8 ? (value * 255) / ((1 << depth) - 1) : value; });
  }
  return {data, width, height, layout: colour === 0 ? 'greyAlpha' : 'rgba'};
}

// ---- Pixels ----

/**
 * A decoded picture -> its upright RGB bytes: {data: Uint8Array, width, height}.
 *
 * picture: {data, width, height, layout, orientation}. data: Uint8Array, Uint8ClampedArray, or Uint16Array for 16 bits. layout:
 * grey, greyAlpha, rgb, rgba, bgr, bgra (straight alpha), or cmyk as in an Adobe JPEG, 255 without ink. orientation: EXIF's,
 * 1 where it is missing. Colours in sRGB, or `profile.js` afterwards.
 */
export function toUpright({data, width, height, layout, orientation = 1}) {
  const channels = {grey: 1, greyAlpha: 2, rgb: 3, rgba: 4, bgr: 3, bgra: 4, cmyk: 4}[layout];
  require(channels && width >= 1 && height >= 1 && data?.length === width * height * channels, 'no picture, or an unknown layout');
  const exchanged = orientation >= 5 && orientation <= 8;
  const [columns, rows] = exchanged ? [height, width] : [width, height];
  const [lastColumn, lastRow] = [width - 1, (height - 1) * width];
  const [origin, stepX, stepY] = { // the upright (x, y) is stored at origin + x stepX + y stepY
    2: [lastColumn, -1, width],
    3: [lastRow + lastColumn, -1, -width],
    4: [lastRow, 1, -width],
    5: [0, width, 1],
    6: [lastRow, -width, 1],
    7: [lastRow + lastColumn, -width, -1],
    8: [lastColumn, width, -1],
  }[orientation] ?? [0, 1, width];
  const out = new Uint8Array(3 * width * height);
  const put = PIXELS[layout];
  const wide = data instanceof Uint16Array ? 8 : 0;
  for (let y = 0, o = 0; y < rows; y++)
    for (let x = 0, i = channels * (origin + y * stepY); x < columns; x++, o += 3, i += channels * stepX) put(data, i, out, o, wide);
  return {data: out, width: columns, height: rows};
}

const white = (c, a) => (a === 255 ? c : ((c * a + 255 * (255 - a) + 127) / 255) | 0);

// One pixel, data[i...] -> out[o], out[o + 1], out[o + 2]. wide: how far samples are shifted, 8 of 16 bits, else 0.
const PIXELS = {
  grey(data, i, out, o, wide) {
    out[o] = out[o + 1] = out[o + 2] = wide ? ((data[i] + 128) / 257) | 0 : data[i];
  },
  greyAlpha(data, i, out, o, wide) {
    out[o] = out[o + 1] = out[o + 2] = white(data[i] >> wide, data[i + 1] >> wide);
  },
  rgb(data, i, out, o, wide) {
    out[o] = data[i] >> wide;
    out[o + 1] = data[i + 1] >> wide;
    out[o + 2] = data[i + 2] >> wide;
  },
  rgba(data, i, out, o, wide) {
    const alpha = data[i + 3] >> wide;
    out[o] = white(data[i] >> wide, alpha);
    out[o + 1] = white(data[i + 1] >> wide, alpha);
    out[o + 2] = white(data[i + 2] >> wide, alpha);
  },
  bgr(data, i, out, o, wide) {
    out[o] = data[i + 2] >> wide;
    out[o + 1] = data[i + 1] >> wide;
    out[o + 2] = data[i] >> wide;
  },
  bgra(data, i, out, o, wide) {
    const alpha = data[i + 3] >> wide;
    out[o] = white(data[i + 2] >> wide, alpha);
    out[o + 1] = white(data[i + 1] >> wide, alpha);
    out[o + 2] = white(data[i] >> wide, alpha);
  },
  cmyk(data, i, out, o, wide) {
    const black = data[i + 3] >> wide;
    for (let c = 0; c < 3; c++) out[o + c] = (((data[i + c] >> wide) * black + 127) / 255) | 0;
  },
};

// CONTRACT.md, section 5: for each output the first sample, and the weights.
function weights(n, target) {
  const most = 2 * Math.max(n, target);
  return Array.from({length: target}, (_, i) => {
    const centre = (2 * i + 1) * n;
    const first = Math.max(0, Math.floor((centre - most - target) / (2 * target)) + 1);
    const v = [];
    for (let x = first; x < n; x++) {
      const value = most - Math.abs((2 * x + 1) * target - centre);
      if (value <= 0) break;
      v.push(value);
    }
    const total = v.reduce((sum, value) => sum + value, 0);
    return {first, k: Int32Array.from(v, (value) => quotient(value * 2 ** 23 + total, 2 * total))};
  });
}

// floor(a / b) of integers below 2^53, whose remainder is exact where a rounded quotient might not be.
const quotient = (a, b) => (a - (a % b)) / b;

// One pass. source: `lines` lines of n pixels whose samples are `step` apart, lines `stride` apart; likewise the result.
function pass(source, n, target, lines, step, stride, outStep, outStride) {
  const out = new Uint8Array(3 * target * lines);
  const all = weights(n, target);
  for (let line = 0; line < lines; line++)
    for (let i = 0; i < target; i++) {
      const {first, k} = all[i];
      let [red, green, blue] = [1 << 21, 1 << 21, 1 << 21];
      for (let t = 0, at = line * stride + first * step; t < k.length; t++, at += step) {
        const weight = k[t];
        red = (red + Math.imul(weight, source[at])) | 0;
        green = (green + Math.imul(weight, source[at + 1])) | 0;
        blue = (blue + Math.imul(weight, source[at + 2])) | 0;
      }
      const o = line * outStride + i * outStep;
      out[o] = Math.min(255, red >> 22);
      out[o + 1] = Math.min(255, green >> 22);
      out[o + 2] = Math.min(255, blue >> 22);
    }
  return out;
}

/** Upright RGB {data, width, height} -> Uint8Array of the model's input size. Refuses what is over its limits. */
export function resize(model, {data, width, height}) {
  require(width * height <= model.maxPixels, 'the picture has more pixels than the limit');
  const across = pass(data, width, model.width, height, 3, 3 * width, 3, 3 * model.width);
  return pass(across, height, model.height, model.width, 3 * model.width, 3, 3 * model.width, 3);
}

// ---- Tensors and decisions ----

/** RGB bytes -> the input tensor: Uint8Array, Int8Array or Float32Array. */
export function toTensor(model, rgb) {
  const {bytes, dtype, scale, zero_point: zeroPoint} = model.input;
  if (bytes === 'unchanged') return rgb;
  const real = Array.from({length: 768}, (_, i) =>
    Math.fround((Math.floor(i / 3) - model.mean[i % 3]) / model.std[i % 3]));
  if (scale === undefined) return Float32Array.from(rgb, (byte, i) => real[3 * byte + (i % 3)]);
  const least = dtype === 'int8' ? -128 : 0;
  const table = real.map((value, i) => {
    const own = Math.floor(i / 3) + least;
    const steps = value / scale + zeroPoint;
    const integer = Math.abs(steps - own) <= 0.501 ? own : Math.floor(steps + 0.5);
    return Math.min(least + 255, Math.max(least, integer));
  });
  const kind = dtype === 'int8' ? Int8Array : Uint8Array;
  return kind.from(rgb, (byte, i) => table[3 * byte + (i % 3)]);
}

/** The values of an output tensor of that name -> real numbers. */
export function toReal(model, name, values) {
  const {scale, zero_point: zeroPoint} = model.outputs.find((output) => output.name === name);
  if (scale === undefined) return Float32Array.from(values);
  return Float32Array.from(values, (value) => Math.fround(value - zeroPoint) * Math.fround(scale));
}

const floorOf = (a, b) => quotient(a, b) - (a % b < 0 ? 1 : 0); // for b > 0

/**
 * RGB bytes of the model's input size -> {luma, black, ...}, integers: CONTRACT.md, section 12.
 *
 * outputs: {outlier_score: the values of the network's output of that name}, where the model has it.
 */
export function measure(model, rgb, outputs = {}) {
  const {width, height} = model;
  const n = width * height;
  const green = new Uint8Array(n);
  const histogram = new Uint32Array(256);
  let [reds, greens, blues, black, white, clipped] = [0, 0, 0, 0, 0, 0];
  for (let i = 0, p = 0; i < n; i++, p += 3) {
    const [r, g, b] = [rgb[p], rgb[p + 1], rgb[p + 2]];
    reds += r;
    greens += g;
    blues += b;
    green[i] = g;
    histogram[g]++;
    if (g < 24) black++;
    if (r >= 250 && g >= 250 && b >= 250) white++;
    if (r >= 254 || g >= 254 || b >= 254) clipped++;
  }
  const total = reds + greens + blues + 1;
  const rows = alongLines(green, height, width, width, 1);
  const columns = alongLines(green, width, height, 1, width);
  const detail = ({near, far}) => floorOf(1000 * near, far + Math.floor(n / 8) + 1);
  const features = {
    luma: floorOf(77 * reds + 150 * greens + 29 * blues, n),
    black: floorOf(10000 * black, n),
    white: floorOf(10000 * white, n),
    clipped: floorOf(10000 * clipped, n),
    red_green: floorOf(1000 * (reds - greens), total),
    blue_green: floorOf(1000 * (blues - greens), total),
    contrast: percentile(histogram, 95, n) - percentile(histogram, 5, n),
    detail: Math.min(detail(rows), detail(columns)),
    ridges: floorOf(10000 * (rows.ridges + columns.ridges), n),
  };
  if (model.outputs?.some(({name}) => name === SCORE) && outputs[SCORE]) {
    const [score] = toReal(model, SCORE, outputs[SCORE]);
    require(Number.isFinite(score), "the network's outlier_score is not finite");
    features[SCORE] = score;
  }
  return features;
}

// Sums of the differences between pixels 1 and 4 apart along each of `lines` lines, whose pixels are `step` apart, lines
// `stride`; and how many are darker by more than 20 than those 3 before and 3 behind.
function alongLines(green, lines, length, stride, step) {
  let [near, far, ridges] = [0, 0, 0];
  for (let line = 0; line < lines; line++)
    for (let i = 0, at = line * stride; i < length; i++, at += step) {
      if (i + 1 < length) near += Math.abs(green[at + step] - green[at]);
      if (i + 4 < length) far += Math.abs(green[at + 4 * step] - green[at]);
      if (i >= 3 && i + 3 < length && Math.min(green[at - 3 * step], green[at + 3 * step]) - green[at] > 20) ridges++;
    }
  return {near, far, ridges};
}

function percentile(histogram, percent, n) {
  let [v, below] = [0, histogram[0]];
  while (100 * below < percent * n) below += histogram[++v];
  return v;
}

/** Features of `measure` -> [{reason, text, remedy}], why the picture cannot be assessed; none where it can. */
export function reasonsOf(model, features) {
  const found = new Map();
  for (const {feature, below, above, reason, text: said, remedy} of model.checks ?? []) {
    const value = features?.[feature];
    require(value !== undefined, 'the model has limits, and the picture was not measured');
    if ((below ?? -Infinity) > value || (above ?? Infinity) < value)
      if (!found.has(reason)) found.set(reason, {reason, text: said, remedy});
  }
  return [...found.values()];
}

/** `reasonsOf`'s reasons in words, without "cannot assess: ". */
export const inWords = (reasons) => reasons.map(({text: said, remedy}) => (remedy ? `${said} (${remedy})` : said)).join('; ');

/**
 * Probabilities in the order of the labels -> {label, probabilities, decisions, possible, assessable, reasons, features, notice}.
 *
 * features: of the same picture, by `measure`; a model without limits needs none. decisions: [{name, score, threshold, decision:
 * 'refer' or 'below', borderline}]. below is no all-clear; show a borderline decision as one, and the notice with every answer.
 * assessable: where false, "cannot assess" and the reasons, [{reason, text, remedy}], are the answer; the rest must not be shown.
 * possible: codes of the classes that it may well be, null where the model does not say.
 */
export function decide(model, probabilities, features = null) {
  const valid = probabilities.length === model.labels.length &&
    Array.prototype.every.call(probabilities, (p) => p >= -0.000001 && p <= 1.000001);
  require(valid, 'the network did not give probabilities');
  let best = 0;
  probabilities.forEach((p, i) => { if (p > probabilities[best]) best = i; });
  const decisions = model.thresholds.map((row) => {
    let score = 0;
    model.labels.forEach(({code}, i) => { if (row.classes.includes(code)) score += probabilities[i]; });
    const decision = score >= row.threshold ? 'refer' : 'below';
    const borderline = Math.abs(score - row.threshold) < row.borderline_within;
    return {name: row.name, score, threshold: row.threshold, decision, borderline};
  });
  const reasons = reasonsOf(model, features);
  const codes = model.labels.map(({code}) => code);
  const possible = model.possible ? codes.filter((_, i) => i === best || probabilities[i] >= model.possible[i]) : null;
  return {label: codes[best], probabilities: Array.from(probabilities), decisions, possible, assessable: reasons.length === 0, reasons,
    features, notice: model.notice};
}

/**
 * The bytes of a JPEG or PNG file -> upright RGB {data, width, height}.
 *
 * decodeJpeg: async (file, header) -> {data, width, height, layout} at full size, as stored, with the file's profile not
 * applied; browser.js and jpeg.js have one. toSrgb: (rgb, profile, grey) -> nothing, changes RGB bytes; profile.js has one. Without it a
 * picture that needs its profile is refused.
 */
export async function decode(model, file, decodeJpeg, toSrgb) {
  let picture, profile;
  if (isPng(file)) {
    ({picture, profile} = await decodePng(file, model.maxPixels));
  } else {
    require(isJpeg(file), 'neither JPEG nor PNG');
    const header = jpegHeader(file);
    require(header.width * header.height <= model.maxPixels, 'the picture has more pixels than the limit');
    require(header.bits === 8 && header.width && header.height, 'no picture of 8 bits');
    profile = header.channels === 4 ? null : jpegProfile(file);
    try {
      picture = await decodeJpeg(file, header);
    } catch (error) {
      throw error instanceof CannotAssess ? error : new CannotAssess('the picture is damaged or truncated');
    }
    if (header.channels === 1) picture.isGrey = true;
  }
  const upright = toUpright({...picture, orientation: orientationOf(file)});
  const grey = picture.layout === 'grey' || picture.isGrey === true;
  if (profile && !profileIsSkipped(profile, grey)) {
    require(toSrgb, 'the picture has a colour profile, and there is nothing here to apply it');
    toSrgb(upright.data, profile, grey);
  }
  return upright;
}

/** Whether an ICC profile may be left alone: it describes sRGB, is damaged, or is for another colour model. */
export function profileIsSkipped(profile, grey) {
  if (profile.length < 132 || text(profile, 36, 40) !== 'acsp') return true;
  if (text(profile, 16, 20) !== (grey ? 'GRAY' : 'RGB ')) return true;
  return /srgb/i.test(text(profileTag(profile, 'desc') ?? new Uint8Array()).replaceAll('\0', ''));
}

/** A tag's bytes in an ICC profile, null where it is missing or outside. */
export function profileTag(profile, name) {
  const numbers = view(profile);
  const count = numbers.getUint32(128);
  for (let at = 132; at < 132 + 12 * count && at + 12 <= profile.length; at += 12)
    if (text(profile, at, at + 4) === name) {
      const [from, size] = [numbers.getUint32(at + 4), numbers.getUint32(at + 8)];
      return from + size <= profile.length && size >= 12 ? profile.subarray(from, from + size) : null;
    }
  return null;
}

/**
 * The bytes of a picture's file -> what `decide` returns, and {upright, rgb} beside it.
 *
 * engine: async (tensor) -> {name of an output of the network: its values}; litert.js has one. Throws CannotAssess, with its reasons,
 * where the picture is beyond the model's limits, unless assessAnything is set: then say with the answer that it is none.
 */
export async function assess(model, file, {decodeJpeg, toSrgb, engine, assessAnything = false}) {
  const upright = await decode(model, file, decodeJpeg, toSrgb);
  const rgb = resize(model, upright);
  const outputs = await engine(toTensor(model, rgb));
  const features = model.checks.length ? measure(model, rgb, outputs) : null;
  const answer = {...decide(model, toReal(model, 'probabilities', outputs.probabilities), features), upright, rgb};
  if (!answer.assessable && !assessAnything) throw new CannotAssess(inWords(answer.reasons), answer.reasons, answer);
  return answer;
}
