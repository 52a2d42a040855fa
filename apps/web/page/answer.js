// SPDX-License-Identifier: Apache-2.0
//
// An answer on the page: the decision in words first, then the photograph and the probabilities.

import {described, element, fill} from './dom.js';
import {drawHeat} from './heat.js';
import texts from './texts.js';
import {verdictOf} from './verdict.js';
import {percent, plural, possibleOf, reasonOf, saidOf, whyNot} from './words.js';

const SIDE = 720; // pixels of the photograph's longer side as it is drawn
const MAP_SIDE = 320;
const SYMBOLS = {refer: '▲', borderline: '◆', below: '▼', none: '–', cannot: '✕'};

/** The refusal of a photograph. */
export function refusal(message, name, values) {
  const title = element('p', {className: 'verdict-title'}, symbol('cannot'), texts.verdict.cannot.title);
  const said = element('p', {}, fill(texts.verdict.cannot.said, {reason: reasonOf(message, values)}));
  return [element('div', {className: 'verdict cannot'}, title, element('p', {className: 'file-name'}, name), said)];
}

/**
 * A photograph beyond the model's limits -> elements: why, and what to do about it; its numbers behind a warning.
 *
 * reasons: [{reason, text, remedy}]. answer: what `decide` returned, null where a server keeps it.
 */
export async function unfit(model, reasons, answer, name) {
  const title = element('p', {className: 'verdict-title'}, symbol('cannot'), texts.verdict.cannot.title);
  const list = element('ul', {className: 'reasons'});
  for (const reason of reasons) {
    const {text, remedy} = whyNot(reason);
    list.append(element('li', {}, symbol('cannot'), element('span', {}, element('strong', {}, text), remedy ? ` ${remedy}` : '')));
  }
  const note = element('p', {className: 'note'}, texts.verdict.cannot.no_class);
  const box = element('div', {className: 'verdict cannot'}, title, element('p', {className: 'file-name'}, name), list, note,
    element('p', {className: 'disclaimer'}, model.notice));
  const area = (className, ...content) => element('div', {className}, ...content);
  if (!answer) return [area('decided', box)];
  const warning = element('p', {className: 'warning', role: 'note'}, fill(texts.anyway.warning, {reasons: reasons.map((one) => whyNot(one).text).join(' ')}));
  const numbers = element('details', {className: 'anyway'}, element('summary', {}, texts.anyway.show), warning, bars(model, answer), more(model, answer));
  return [area('decided', box), area('seen', await ownPicture(model, {...answer, map: null}, name, '')), area('shares', numbers)];
}

/** An answer -> elements: what is decided, the photograph, the probabilities. file: the photograph, as a Blob with a name. */
export async function answered(model, answer, file) {
  const photograph = answer.upright ? await ownPicture(model, answer, file.name) : serverPicture(answer, file);
  const area = (className, ...content) => element('div', {className}, ...content);
  return [area('decided', decision(model, answer)), area('seen', photograph), area('shares', bars(model, answer), more(model, answer))];
}

const symbol = (kind) => element('span', {className: 'symbol', 'aria-hidden': 'true'}, SYMBOLS[kind]);

function decision(model, answer) {
  const {kind, rows} = verdictOf(model.thresholds, answer.decisions);
  const words = texts.verdict[kind];
  const box = element('div', {className: `verdict ${kind}`}, element('p', {className: 'verdict-title'}, symbol(kind), words.title));
  if (kind === 'none') box.append(element('p', {}, words.said));
  const list = element('ul', {className: 'reasons'});
  const order = ['refer', 'borderline', 'below'];
  for (const row of [...rows].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind)))
    list.append(element('li', {className: row.kind}, symbol(row.kind), element('span', {}, saidOf(row.threshold, row.kind, model.labels))));
  if (rows.length) box.append(list);
  if (answer.possible) box.append(element('p', {className: 'possible'}, possibleOf(answer.possible, model)));
  if (kind === 'below' || kind === 'none') box.append(element('p', {className: 'note'}, texts.verdict.below_note));
  box.append(element('p', {className: 'disclaimer'}, answer.notice));
  return box;
}

function bars(model, answer) {
  const list = element('ul', {className: 'bars'});
  const rows = model.labels.map((label, i) => ({label, p: answer.probabilities[i]})).sort((a, b) => b.p - a.p);
  for (const {label, p} of rows) {
    const bar = element('span', {className: `bar ${label.malignant ? 'malignant' : ''}`, 'aria-hidden': 'true'});
    bar.style.setProperty('--share', String(p));
    const kind = label.malignant === null ? '' : label.malignant ? texts.answer.malignant : texts.answer.not_malignant;
    list.append(element('li', {}, element('span', {className: 'label'}, label.name, ' ', element('small', {}, kind)),
      element('span', {className: 'percent'}, percent(p)), bar));
  }
  const note = element('p', {className: 'note'}, model.thresholds.length ? texts.answer.no_decision : texts.verdict.none.said);
  return element('div', {}, element('h3', {}, texts.answer.probabilities), list, note);
}

function more(model, answer) {
  const head = ['threshold', 'score', 'limit', 'decision'].map((name) => element('th', {scope: 'col'}, texts.answer[`column_${name}`]));
  const body = answer.decisions.map((one) => {
    const row = model.thresholds.find(({name}) => name === one.name);
    const said = one.borderline ? `${texts.decision[one.decision]}, ${texts.decision.borderline}` : texts.decision[one.decision];
    return element('tr', {}, element('th', {scope: 'row'}, `${plural(row, model.labels)} (${one.name})`), element('td', {}, one.score.toFixed(4)),
      element('td', {}, one.threshold.toFixed(4)), element('td', {}, said));
  });
  const table = element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...body));
  const scroll = element('div', {className: 'scroll', tabIndex: 0, role: 'group', 'aria-label': texts.answer.all}, table);
  const use = described([[texts.model.use, model.contract.intended_use ?? texts.model.unknown], [texts.model.not, texts.model.not_said]]);
  const parts = [element('details', {}, element('summary', {}, texts.answer.use), use)];
  if (answer.decisions.length) parts.unshift(element('details', {}, element('summary', {}, texts.answer.all), scroll));
  return element('div', {className: 'more'}, ...parts);
}

// ---- The photograph ----

// without: what is said where there is no heatmap.
async function ownPicture(model, answer, name, without = texts.answer.no_map) {
  const {upright, map} = answer;
  const canvas = await drawnPicture(upright, fill(texts.answer.picture, {name, width: upright.width, height: upright.height}));
  const frame = element('div', {className: 'photograph'}, canvas);
  if (!map) return element('div', {}, frame, element('p', {className: 'note'}, without));
  const scale = MAP_SIDE / Math.max(canvas.width, canvas.height);
  const heat = element('canvas', {className: 'heat', 'aria-hidden': 'true',
    width: Math.max(1, Math.round(canvas.width * scale)), height: Math.max(1, Math.round(canvas.height * scale))});
  frame.append(heat);
  const about = element('p', {className: 'note'});
  const choice = element('select', {id: 'heat-class'});
  model.labels.forEach(({name: label}, i) => choice.append(element('option', {value: String(i)}, label)));
  choice.value = String(model.labels.findIndex(({code}) => code === answer.label));
  const show = () => {
    const position = Number(choice.value);
    drawHeat(heat, map, position, model.labels.length);
    about.textContent = fill(texts.answer.heat_about, {label: model.labels[position].name, rows: map.rows, columns: map.columns});
  };
  choice.addEventListener('change', show);
  show();
  const chosen = element('label', {className: 'field', for: 'heat-class'}, texts.answer.heat_of, choice);
  return element('div', {}, frame, slider(heat), chosen, about);
}

// As it came to the network: upright, in sRGB, laid over white.
async function drawnPicture({data, width, height}, alternative) {
  const rgba = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let i = 0, o = 0; i < data.length; i += 3, o += 4) {
    rgba[o] = data[i];
    rgba[o + 1] = data[i + 1];
    rgba[o + 2] = data[i + 2];
  }
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const size = {width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale))};
  const canvas = element('canvas', {...size, role: 'img', 'aria-label': alternative});
  const small = await createImageBitmap(new ImageData(rgba, width, height),
    {resizeWidth: size.width, resizeHeight: size.height, resizeQuality: 'medium'});
  canvas.getContext('2d').drawImage(small, 0, 0);
  small.close();
  return canvas;
}

function serverPicture(answer, file) {
  const url = URL.createObjectURL(file);
  const image = element('img', {src: url, alt: file.name, className: 'picture'});
  image.addEventListener('load', () => URL.revokeObjectURL(url));
  const frame = element('div', {className: 'photograph'}, image);
  if (!answer.heatmap) return element('div', {}, frame);
  const heat = element('img', {src: answer.heatmap, alt: '', className: 'heat'});
  frame.append(heat);
  return element('div', {}, frame, slider(heat), element('p', {className: 'note'}, texts.answer.heat_server));
}

function slider(heat) {
  const range = element('input', {type: 'range', min: '0', max: '100', step: '5', value: '55', id: 'heat-strength'});
  const show = () => { heat.style.opacity = String(Number(range.value) / 100); };
  range.addEventListener('input', show);
  show();
  return element('label', {className: 'field', for: 'heat-strength'}, texts.answer.heat, range);
}
