// SPDX-License-Identifier: Apache-2.0
//
// Elements, made without HTML in texts: names of files and labels are text and nothing else.

export const byId = (id) => document.getElementById(id);

/** An element. properties: className, id, hidden and so on; dashes make attributes. children: elements and texts. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || ['role', 'for', 'scope', 'open'].includes(name)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** "{name} …" with its names replaced. */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A list of names and what is said of them. */
export function described(rows) {
  const list = element('dl');
  for (const [name, ...said] of rows) list.append(element('dt', {}, name), element('dd', {}, ...said));
  return list;
}

/** Until the browser has drawn what was changed. */
export const drawn = () => new Promise((resolve) => {
  // A page in the background draws nothing.
  if (document.hidden) setTimeout(resolve, 0);
  else requestAnimationFrame(() => setTimeout(resolve, 0));
});

/** Offers bytes or a text as a file. */
export function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], {type}));
  const link = element('a', {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
