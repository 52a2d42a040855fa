// SPDX-License-Identifier: Apache-2.0
//
// Figures and names as they are shown.

import {fill} from './dom.js';
import texts from './texts.js';

export function percent(value) {
  return value > 0 && value < 0.001 ? texts.answer.below_percent : fill(texts.answer.percent, {value: (100 * value).toFixed(1)});
}

/** The lesions of a threshold, in the plural. */
export function plural(threshold, labels) {
  if (threshold.target === 'malignant') return texts.plural.malignant;
  const names = threshold.classes.map((code) => labels.find((label) => label.code === code)?.name ?? code);
  return names.map((name) => texts.plural[name] ?? fill(texts.plural.other, {name})).join(', ');
}

/** The sentence on one threshold. kind: 'refer', 'borderline' or 'below'. */
export function saidOf(threshold, kind, labels) {
  const known = typeof threshold.sensitivity === 'number';
  const text = known ? texts.verdict[kind].said : `${texts.verdict.unknown} ${texts.decision[kind]}`;
  // Rounded towards the worse.
  const found = Math.floor(100 * threshold.sensitivity + 1e-9);
  return fill(text, {found, missed: 100 - found, plural: plural(threshold, labels)});
}

/** A reason of CannotAssess, in a sentence. */
export function reasonOf(message, values = {}) {
  const reason = message.replace(/^cannot assess: /, '');
  const [, said] = /^server: (?:cannot assess: )?(.*)$/s.exec(reason) ?? [];
  if (said !== undefined) return texts.reasons[said] ?? fill(texts.reasons.server, {...values, said});
  return fill(texts.reasons[reason] ?? `${reason[0].toUpperCase()}${reason.slice(1)}.`, values);
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}` : '');

/** One of a model's reasons, {reason, text, remedy} -> {text, remedy} in sentences: this page's by the code, else the file's. */
export function whyNot({reason, text, remedy}) {
  const own = Object.hasOwn(texts.assessment, reason) ? texts.assessment[reason] : null;
  return own ?? {text: sentence(text), remedy: sentence(remedy)};
}

/** "It may well be: melanoma, melanocytic nevus." codes: of the possible classes. */
export function possibleOf(codes, model) {
  const names = codes.map((code) => model.labels.find((label) => label.code === code)?.name ?? code);
  return fill(texts.answer.possible, {names: names.join(', ')});
}

export const milliseconds = (value) => (value === null ? '–' : value < 10 ? value.toFixed(1) : value.toFixed(0));
