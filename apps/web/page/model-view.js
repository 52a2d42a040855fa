// SPDX-License-Identifier: Apache-2.0
//
// What the model says of itself: model.json.

import {byId, described, element, fill} from './dom.js';
import texts from './texts.js';
import {plural, whyNot} from './words.js';

export function showModel(facts) {
  const words = texts.model;
  const known = (value) => value ?? words.unknown;
  const [height, width] = facts.input;
  const file = fill(words.file_said, {mb: (facts.bytes / 1e6).toFixed(2), width, height, precision: known(facts.precision)});
  const labels = element('ul', {});
  for (const {code, name, malignant} of facts.labels) {
    const kind = malignant === null ? '' : ` (${malignant ? texts.answer.malignant : texts.answer.not_malignant})`;
    labels.append(element('li', {}, `${code}: ${name}${kind}`));
  }
  const rows = [
    [words.name, known(facts.name)],
    [words.file, file],
    [words.use, known(facts.intended_use)],
    [words.not, facts.reasons.length ? words.not_said_limits : words.not_said],
    [words.labels, element('p', {}, facts.reasons.length ? words.labels_note_limits : words.labels_note), labels],
  ];
  if (facts.reasons.length) rows.push([words.cannot, fill(words.cannot_said, {reasons: facts.reasons.map((one) => whyNot(one).text).join(' ')})]);
  if (facts.coverage !== null) rows.push([words.possible, fill(words.possible_said, {share: Number((100 * facts.coverage).toFixed(1))})]);
  if (facts.thresholds?.length) rows.push([words.thresholds, ...thresholds(facts)]);
  const data = Object.fromEntries(Object.entries(facts.data).map(([name, value]) => [name, known(value)]));
  rows.push(
    [words.data, Object.values(facts.data).every((value) => value === null) ? words.unknown : fill(words.data_said, data)],
    [words.limits, fill(words.limits_said, {pixels: Math.floor(facts.limits.max_pixels / 1e6)})],
    [words.license, known(facts.license)],
    [words.sha256, element('code', {}, facts.sha256)],
  );
  byId('model').replaceChildren(described(rows.slice(0, 4)), element('details', {}, element('summary', {}, words.more), described(rows.slice(4))));
}

function thresholds(facts) {
  const list = element('ul', {});
  const share = (value) => (typeof value === 'number' ? (100 * value).toFixed(1) : texts.model.unknown);
  for (const row of facts.thresholds)
    list.append(element('li', {}, fill(texts.model.threshold_said, {
      plural: plural(row, facts.labels), limit: row.threshold.toFixed(4), sensitivity: share(row.sensitivity), specificity: share(row.specificity),
      positive: row.n_positive ?? texts.model.unknown, negative: row.n_negative ?? texts.model.unknown, on: row.on ?? texts.model.unknown,
    })));
  return [list, element('p', {className: 'note'}, fill(texts.model.thresholds_note, {refer: texts.decision.refer}))];
}
