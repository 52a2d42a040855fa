// SPDX-License-Identifier: Apache-2.0
//
// What the decisions of a model's thresholds come to, in one word.

/** Of each target the most sensitive threshold, in the model's order. */
export function leading(thresholds) {
  const found = new Map();
  for (const row of thresholds) {
    const key = row.target ?? row.classes.join('+');
    const best = found.get(key);
    if (!best || (row.chosen_for_sensitivity ?? 0) > (best.chosen_for_sensitivity ?? 0)) found.set(key, row);
  }
  return [...found.values()];
}

/**
 * {kind: 'refer', 'borderline', 'below' or 'none', rows: [{threshold, decision, kind}]}.
 *
 * One threshold that says refer is enough, then one that is borderline: the answer never promises more than any of them.
 */
export function verdictOf(thresholds, decisions) {
  const rows = leading(thresholds).map((threshold) => {
    const decision = decisions.find(({name}) => name === threshold.name);
    return {threshold, decision, kind: decision.borderline ? 'borderline' : decision.decision};
  });
  const kind = ['refer', 'borderline', 'below'].find((each) => rows.some((row) => row.kind === each)) ?? 'none';
  return {kind, rows};
}
