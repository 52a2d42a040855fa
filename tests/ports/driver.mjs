// Answers test_ports.py's questions, one a line, with ports/js.
import {readFileSync, writeFileSync} from 'node:fs';
import {createInterface} from 'node:readline';
import {pathToFileURL} from 'node:url';

const port = await import(pathToFileURL(`${process.argv[2]}/skin-edge.js`));
const {decodeJpeg} = await import(pathToFileURL(`${process.argv[2]}/jpeg.js`));
const {toSrgb} = await import(pathToFileURL(`${process.argv[2]}/profile.js`));
const LAYOUTS = ['grey', 'greyAlpha', 'rgb', 'rgba', 'bgr', 'bgra', 'cmyk', 'grey', 'greyAlpha', 'rgb', 'rgba'];
const bytesOf = (path) => new Uint8Array(readFileSync(path));
let model;

const answers = {
  open(path) {
    model = port.openModel(bytesOf(path));
    const {code, name, malignant} = model.labels[0];
    const notice = model.notice.replace(/[\t\n]/g, ' ');
    return ['ok', model.height, model.width, model.labels.length, model.thresholds.length, code, Number(malignant), name, notice].join(' ');
  },
  resize(layout, orientation, width, height, toWidth, toHeight, from, to) {
    const bytes = bytesOf(from);
    const data = Number(layout) >= 7 ? new Uint16Array(bytes.buffer, 0, bytes.length / 2) : bytes;
    const picture = {data, width: Number(width), height: Number(height), layout: LAYOUTS[layout], orientation: Number(orientation)};
    writeFileSync(to, port.resize({width: Number(toWidth), height: Number(toHeight), maxPixels: 1000000}, port.toUpright(picture)));
    return 'ok';
  },
  orientation: (path) => port.orientationOf(bytesOf(path)),
  exif: (path) => port.exifOrientation(bytesOf(path)),
  profile: (grey, path) => Number(port.profileIsSkipped(bytesOf(path), grey === '1')),
  decide(...values) {
    const {label, decisions} = port.decide({...model, checks: []}, Float32Array.from(values, (v) => Number(v.replace('inf', 'Infinity'))));
    return [label, ...decisions.flatMap((d) => [d.name, d.score, d.decision, Number(d.borderline)])].join(' ');
  },
  measure(width, height, from) {
    return Object.values(port.measure({width: Number(width), height: Number(height)}, bytesOf(from))).join(' ');
  },
  answer(...values) { // probabilities, then features
    const count = model.labels.length;
    const names = ['luma', 'black', 'white', 'clipped', 'red_green', 'blue_green', 'contrast', 'detail', 'ridges', 'outlier_score'];
    const features = Object.fromEntries(values.slice(count).map((value, i) => [names[i], Number(value)]));
    const {label, assessable, possible, reasons} = port.decide(model, Float32Array.from(values.slice(0, count)), features);
    const said = reasons.length ? `cannot assess: ${port.inWords(reasons)}` : '';
    return [label, Number(assessable), 'possible:', ...(possible ?? []), 'reasons:', ...reasons.map(({reason}) => reason), said].join(' ');
  },
  async assess(path, anything, score, ...probabilities) { // a whole answer, of a network that gives these
    const outputs = {probabilities: Float32Array.from(probabilities), outlier_score: Float32Array.of(Number(score))};
    const engine = async () => outputs;
    try {
      const answer = await port.assess(model, bytesOf(path), {decodeJpeg, toSrgb, engine, assessAnything: anything === '1'});
      return `${answer.label} ${answer.assessable} ${answer.reasons.map(({reason}) => reason)}`;
    } catch (error) {
      if (!error.answer) throw error;
      return `${error.reasons.map(({reason}) => reason)} ${error.answer.assessable} ${error.message}`;
    }
  },
  score(value) {
    const values = Float32Array.of(Number(value.replace('inf', 'Infinity')));
    const one = {...model, width: 1, height: 1};
    return port.measure(one, new Uint8Array(3), {outlier_score: values}).outlier_score;
  },
  tensor(type, scale, zeroPoint, to) {
    const [dtype, bytes] = [['uint8', 'quantized'], ['int8', 'quantized'], ['float32', 'normalized']][type];
    const input = {dtype, bytes, ...(type === '2' ? {} : {scale: Number(scale), zero_point: Number(zeroPoint)})};
    const rgb = Uint8Array.from({length: 768}, (_, i) => Math.floor(i / 3));
    writeFileSync(to, new Uint8Array(port.toTensor({...model, input}, rgb).buffer));
    return 'ok';
  },
  number: (word) => Object.is(JSON.parse(word), -0) ? '-0' : JSON.parse(word),
  srgb(profile, from, to) {
    const rgb = bytesOf(from);
    toSrgb(rgb, bytesOf(profile), false);
    writeFileSync(to, rgb);
    return 'ok';
  },
  async picture(path) { // upright and input of a file
    const upright = await port.decode(model, bytesOf(path), decodeJpeg, toSrgb);
    const rgb = port.resize(model, upright);
    const base64 = Buffer.from(rgb).toString('base64');
    const {width, height, data} = upright;
    return JSON.stringify({upright: {width, height, sha256: port.sha256(data)}, input: {sha256: port.sha256(rgb), base64}});
  },
};

for await (const line of createInterface({input: process.stdin})) {
  const [question, ...words] = line.split(' ');
  try {
    console.log(await answers[question](...words));
  } catch (error) {
    if (!(error instanceof port.CannotAssess)) throw error;
    console.log(error.message);
  }
}
