// SPDX-License-Identifier: Apache-2.0
//
// A JPEG decoder that gives libjpeg's bytes: sequential and progressive Huffman, the accurate integer DCT (jidctint), triangle
// upsampling. For Node, for CMYK, and for browsers whose own decoder is not libjpeg's.

import {CannotAssess} from './skin-edge.js';

const damaged = () => new CannotAssess('the picture is damaged or truncated');

const ZIGZAG = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/** A JPEG -> {data, width, height, layout: grey, rgb or cmyk}, as it is stored. */
export async function decodeJpeg(file) {
  const frame = parse(file);
  const planes = frame.components.map((component) => upsampled(component, frame));
  const {width, height, components: {length: channels}} = frame;
  const data = new Uint8Array(width * height * channels);
  planes.forEach((plane, c) => { for (let i = 0; i < plane.length; i++) data[channels * i + c] = plane[i]; });
  if (isYcc(frame)) toRgb(data, channels);
  return {data, width, height, layout: {1: 'grey', 3: 'rgb', 4: 'cmyk'}[channels]};
}

// ---- Markers and scans ----

function parse(file) {
  const state = {tables: [], dc: [], ac: [], restart: 0, frame: null, adobe: null, isJfif: false};
  const scans = {at: 2, any: false};
  for (;;) {
    while (file[scans.at] === 0xff && file[scans.at + 1] === 0xff) scans.at++;
    if (scans.at + 2 > file.length || file[scans.at] !== 0xff) throw damaged();
    const marker = file[scans.at + 1];
    if (marker === 0xd9) break;
    const from = scans.at + 4;
    const to = scans.at + 2 + file[scans.at + 2] * 256 + file[scans.at + 3];
    if (!(to <= file.length)) throw damaged();
    const body = file.subarray(from, to);
    scans.at = to;
    if (marker === 0xdb) quantization(body, state);
    else if (marker === 0xc4) huffman(body, state);
    else if (marker === 0xdd) state.restart = body[0] * 256 + body[1];
    else if (marker === 0xe0 && String.fromCharCode(...body.subarray(0, 5)) === 'JFIF\0') state.isJfif = true;
    else if (marker === 0xee && body.length >= 12 && String.fromCharCode(...body.subarray(0, 5)) === 'Adobe') state.adobe = body[11];
    else if (marker >= 0xc0 && marker <= 0xc2) startFrame(body, marker, state);
    else if (marker > 0xc2 && marker <= 0xcf) throw new CannotAssess('a JPEG of a kind that is not read here');
    else if (marker === 0xda) {
      scans.at = scan(file, to, body, state);
      scans.any = true;
    }
  }
  if (!scans.any) throw damaged();
  return {...state.frame, adobe: state.adobe, isJfif: state.isJfif};
}

function quantization(body, {tables}) {
  for (let at = 0; at < body.length;) {
    const wide = body[at] >> 4;
    const table = new Int32Array(64);
    const id = body[at++] & 15;
    for (let i = 0; i < 64; i++, at += 1 + wide) table[ZIGZAG[i]] = wide ? body[at] * 256 + body[at + 1] : body[at];
    if (at > body.length) throw damaged();
    tables[id] = table;
  }
}

// Of each length the codes before `end`, and where their values begin: value = values[code - start].
function huffman(body, state) {
  for (let at = 0; at < body.length;) {
    const kind = body[at] >> 4 ? state.ac : state.dc;
    const counts = body.subarray(at + 1, at + 17);
    const total = counts.reduce((sum, n) => sum + n, 0);
    const values = body.subarray(at + 17, at + 17 + total);
    if (counts.length < 16 || values.length < total) throw damaged();
    const [end, start] = [new Int32Array(17), new Int32Array(17)];
    for (let length = 1, code = 0, used = 0; length <= 16; length++, code *= 2) {
      start[length] = code - used;
      used += counts[length - 1];
      code += counts[length - 1];
      end[length] = code;
    }
    kind[body[at] & 15] = {end, start, values};
    at += 17 + total;
  }
}

function startFrame(body, marker, state) {
  const [bits, a, b, c, d, count] = body;
  const [height, width] = [a * 256 + b, c * 256 + d];
  if (state.frame || bits !== 8 || ![1, 3, 4].includes(count) || body.length < 6 + 3 * count || !width || !height) throw damaged();
  const components = Array.from({length: count}, (_, i) => {
    const [id, sampling, table] = body.subarray(6 + 3 * i);
    return {id, h: sampling >> 4, v: sampling & 15, table};
  });
  if (components.some(({h, v}) => h < 1 || h > 4 || v < 1 || v > 4)) throw damaged();
  const [hMost, vMost] = [Math.max(...components.map(({h}) => h)), Math.max(...components.map(({v}) => v))];
  const [columns, rows] = [Math.ceil(width / (8 * hMost)), Math.ceil(height / (8 * vMost))]; // of minimum coded units
  for (const component of components) {
    component.width = Math.ceil((width * component.h) / hMost);
    component.height = Math.ceil((height * component.v) / vMost);
    component.columns = columns * component.h; // blocks, those beyond the picture included
    component.rows = rows * component.v;
    component.coefficients = new Int16Array(64 * component.columns * component.rows);
  }
  state.frame = {width, height, components, hMost, vMost, columns, rows, progressive: marker === 0xc2};
}

// Decodes the scan behind `at`; where the next marker is.
function scan(file, at, head, {frame, tables, dc, ac, restart}) {
  if (!frame || head.length < 4 + 2 * head[0]) throw damaged();
  const parts = Array.from({length: head[0]}, (_, i) => {
    const component = frame.components.find(({id}) => id === head[1 + 2 * i]);
    if (!component) throw damaged();
    component.quantization ??= tables[component.table];
    return {component, dc: dc[head[2 + 2 * i] >> 4], ac: ac[head[2 + 2 * i] & 15], last: 0};
  });
  const [first, end, approximation] = head.subarray(1 + 2 * head[0]);
  const band = {first, end, high: approximation >> 4, low: approximation & 15, run: 0};
  if (first > end || end > 63 || (frame.progressive && first > 0 && parts.length > 1)) throw damaged();
  const bits = new Bits(file, at);
  const decode = !frame.progressive ? sequential : first === 0 ? (band.high ? refineDc : firstDc) : band.high ? refineAc : firstAc;
  const alone = parts.length === 1 ? parts[0].component : null;
  const columns = alone ? Math.ceil(alone.width / 8) : frame.columns;
  const rows = alone ? Math.ceil(alone.height / 8) : frame.rows;
  for (let unit = 0; unit < columns * rows; unit++) {
    if (restart && unit && unit % restart === 0) {
      bits.restart();
      parts.forEach((part) => { part.last = 0; });
      band.run = 0;
    }
    const [x, y] = [unit % columns, Math.floor(unit / columns)];
    for (const part of parts) {
      const {h, v, columns: stride, coefficients} = part.component;
      if (alone) decode(bits, part, band, coefficients, 64 * (y * stride + x));
      else for (let j = 0; j < v; j++) for (let i = 0; i < h; i++)
        decode(bits, part, band, coefficients, 64 * ((y * v + j) * stride + x * h + i));
    }
  }
  return bits.end();
}

class Bits {
  constructor(file, at) {
    Object.assign(this, {file, at, held: 0, count: 0});
  }

  bit() {
    if (this.count === 0) {
      if (this.at >= this.file.length) throw damaged(); // it ends before its last row
      this.held = this.file[this.at];
      if (this.held === 0xff) {
        if (this.file[this.at + 1] !== 0) throw damaged(); // a marker where pixels should be
        this.at++;
      }
      this.at++;
      this.count = 8;
    }
    return (this.held >> --this.count) & 1;
  }

  bits(count) {
    let value = 0;
    for (; count > 0; count--) value = value * 2 + this.bit();
    return value;
  }

  // A number of that many bits, whose first one is its sign.
  signed(count) {
    const value = this.bits(count);
    return count === 0 || value >= 2 ** (count - 1) ? value : value - 2 ** count + 1;
  }

  symbol(table) {
    if (!table) throw damaged();
    for (let code = 0, length = 1; length <= 16; length++) {
      code = code * 2 + this.bit();
      if (code < table.end[length]) return table.values[code - table.start[length]];
    }
    throw damaged();
  }

  restart() {
    this.count = 0;
    while (this.file[this.at] === 0xff && this.file[this.at + 1] === 0xff) this.at++;
    const marker = this.file[this.at + 1];
    if (this.file[this.at] !== 0xff || marker < 0xd0 || marker > 0xd7) throw damaged();
    this.at += 2;
  }

  end() { // bytes before the next marker are padding
    while (this.at < this.file.length && !(this.file[this.at] === 0xff && this.file[this.at + 1] >= 0xc0 && this.file[this.at + 1] !== 0xff)) this.at++;
    return this.at;
  }
}

function sequential(bits, part, band, out, at) {
  part.last += bits.signed(bits.symbol(part.dc));
  out[at] = part.last;
  for (let k = 1; k < 64; k++) {
    const symbol = bits.symbol(part.ac);
    const [run, size] = [symbol >> 4, symbol & 15];
    if (size === 0 && run < 15) return;
    k += run;
    if (k > 63) throw damaged();
    out[at + ZIGZAG[k]] = bits.signed(size);
  }
}

function firstDc(bits, part, {low}, out, at) {
  part.last += bits.signed(bits.symbol(part.dc));
  out[at] = part.last * 2 ** low;
}

function refineDc(bits, part, {low}, out, at) {
  if (bits.bit()) out[at] |= 1 << low;
}

function firstAc(bits, part, band, out, at) {
  if (band.run > 0) {
    band.run--;
    return;
  }
  for (let k = band.first; k <= band.end; k++) {
    const symbol = bits.symbol(part.ac);
    const [run, size] = [symbol >> 4, symbol & 15];
    if (size === 0 && run < 15) {
      band.run = 2 ** run + bits.bits(run) - 1;
      return;
    }
    k += run;
    if (k > 63) throw damaged();
    out[at + ZIGZAG[k]] = bits.signed(size) * 2 ** band.low;
  }
}

function refineAc(bits, part, band, out, at) {
  const one = 1 << band.low;
  const correct = (i) => {
    if (bits.bit() && (out[i] & one) === 0) out[i] += out[i] > 0 ? one : -one;
  };
  let k = band.first;
  if (band.run === 0) {
    for (; k <= band.end; k++) {
      const symbol = bits.symbol(part.ac);
      let run = symbol >> 4;
      let value = 0;
      if ((symbol & 15) !== 0) value = bits.bit() ? one : -one;
      else if (run < 15) {
        band.run = 2 ** run + bits.bits(run);
        break;
      }
      for (; k <= band.end; k++) { // over `run` zeros; what is known already gets its next bit
        const i = at + ZIGZAG[k];
        if (out[i] !== 0) correct(i);
        else if (run-- === 0) break;
      }
      if (value && k <= 63) out[at + ZIGZAG[k]] = value;
    }
  }
  if (band.run > 0) {
    for (; k <= band.end; k++) if (out[at + ZIGZAG[k]] !== 0) correct(at + ZIGZAG[k]);
    band.run--;
  }
}

// ---- Samples ----

// libjpeg's jidctint: constants of 13 bits, 2 more bits kept between the passes.
const [C0298, C0390, C0541, C0765, C0899, C1175, C1501, C1847, C1961, C2053, C2562, C3072] =
  [2446, 3196, 4433, 6270, 7373, 9633, 12299, 15137, 16069, 16819, 20995, 25172];

// One dimension: eight values `step` apart, in place, rounded and shifted.
function idct(v, at, step, shift) {
  const [i0, i1, i2, i3, i4, i5, i6, i7] = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => v[at + i * step]);
  const z = (i2 + i6) * C0541;
  const [even2, even3] = [z - i6 * C1847, z + i2 * C0765];
  const [even0, even1] = [(i0 + i4) * 8192, (i0 - i4) * 8192];
  const [a0, a3, a1, a2] = [even0 + even3, even0 - even3, even1 + even2, even1 - even2];
  const z5 = (i7 + i3 + i5 + i1) * C1175;
  const [z1, z2, z3, z4] = [-(i7 + i1) * C0899, -(i5 + i3) * C2562, z5 - (i7 + i3) * C1961, z5 - (i5 + i1) * C0390];
  const odd = [i1 * C1501 + z1 + z4, i3 * C3072 + z2 + z3, i5 * C2053 + z2 + z4, i7 * C0298 + z1 + z3];
  const half = 1 << (shift - 1);
  [a0, a1, a2, a3].forEach((even, i) => {
    v[at + i * step] = (even + odd[i] + half) >> shift;
    v[at + (7 - i) * step] = (even - odd[i] + half) >> shift;
  });
}

// The component's own samples, {data, stride}; rows and columns beyond the picture included.
function samples({columns, rows, coefficients, quantization: table}) {
  if (!table) throw damaged();
  const data = new Uint8ClampedArray(64 * columns * rows);
  const stride = 8 * columns;
  const block = new Int32Array(64);
  for (let n = 0; n < columns * rows; n++) {
    for (let i = 0; i < 64; i++) block[i] = coefficients[64 * n + i] * table[i];
    for (let i = 0; i < 8; i++) idct(block, i, 8, 11);
    for (let i = 0; i < 8; i++) idct(block, 8 * i, 1, 18);
    const corner = Math.floor(n / columns) * 8 * stride + (n % columns) * 8;
    for (let i = 0; i < 64; i++) data[corner + (i >> 3) * stride + (i & 7)] = block[i] + 128;
  }
  return {data, stride};
}

// The component at the picture's full size.
function upsampled(component, {width, height, hMost, vMost}) {
  const {data, stride} = samples(component);
  const [across, down] = [hMost / component.h, vMost / component.v];
  if (!Number.isInteger(across) || !Number.isInteger(down)) throw new CannotAssess('a JPEG of a kind that is not read here');
  const [columns, rows] = [component.width, component.height];
  const out = new Uint8Array(width * height);
  // libjpeg leaves the triangle out where a row has two samples or fewer
  const triangle = (across === 2 && columns > 2 && down <= 2) || (across === 1 && down === 2);
  const line = new Int32Array(columns);
  for (let y = 0; y < height; y++) {
    const near = Math.floor(y / down);
    const far = Math.min(rows - 1, Math.max(0, near + (y % 2 ? 1 : -1)));
    const blended = triangle && down === 2;
    for (let x = 0; x < columns; x++)
      line[x] = blended ? 3 * data[near * stride + x] + data[far * stride + x] : data[near * stride + x];
    for (let x = 0; x < width; x++) {
      const i = Math.floor(x / across);
      let value = line[i];
      if (triangle && across === 2) {
        const other = i + (x % 2 ? 1 : -1);
        const sum = other < 0 || other >= columns ? 4 * line[i] : 3 * line[i] + line[other];
        value = blended ? (sum + (x % 2 ? 7 : 8)) >> 4 : (sum + (x % 2 ? 2 : 1)) >> 2;
      } else if (blended) {
        value = (value + (y % 2 ? 2 : 1)) >> 2;
      }
      out[y * width + x] = value;
    }
  }
  return out;
}

// As libjpeg decides it.
function isYcc({components, adobe, isJfif}) {
  const ids = components.map(({id}) => id).join();
  if (components.length === 4) return adobe !== null && adobe !== 0;
  if (components.length !== 3) return false;
  if (isJfif) return true;
  return adobe !== null ? adobe !== 0 : ids !== '82,71,66'; // "RGB"
}

// YCbCr -> RGB, or YCCK -> CMYK, in place and in libjpeg's integers.
function toRgb(data, channels) {
  const clip = (value) => Math.min(255, Math.max(0, value));
  for (let i = 0; i < data.length; i += channels) {
    const [y, blue, red] = [data[i], data[i + 1] - 128, data[i + 2] - 128];
    const rgb = [y + ((91881 * red + 32768) >> 16), y + ((-22554 * blue - 46802 * red + 32768) >> 16), y + ((116130 * blue + 32768) >> 16)];
    for (let c = 0; c < 3; c++) data[i + c] = channels === 4 ? 255 - clip(rgb[c]) : clip(rgb[c]);
  }
}
