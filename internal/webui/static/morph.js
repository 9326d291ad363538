// SPDX-License-Identifier: Apache-2.0
// Makes one tree of elements like another one, and touches only what differs, so
// that focus, selection, scroll positions and open details stay.

/** Elements with this attribute are left to the scripts that own them. */
const KEEP = 'data-keep';

/** Makes the children of have those of want. */
export function morph(have, want) {
  const named = new Map();
  for (const child of have.children) if (child.id) named.set(child.id, child);
  let at = have.firstChild;
  for (const node of [...want.childNodes]) {
    let match = null;
    if (node.nodeType === Node.ELEMENT_NODE && node.id && named.has(node.id)) {
      match = named.get(node.id);
      if (match !== at) have.insertBefore(match, at);
      else at = at.nextSibling;
    } else if (at && alike(at, node)) {
      match = at;
      at = at.nextSibling;
    }
    if (!match) {
      have.insertBefore(document.importNode(node, true), at);
    } else if (node.nodeType !== Node.ELEMENT_NODE) {
      if (match.nodeValue !== node.nodeValue) match.nodeValue = node.nodeValue;
    } else {
      element(match, node);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Whether a can become b. */
function alike(a, b) {
  if (a.nodeType !== b.nodeType || a.nodeName !== b.nodeName) return false;
  return a.nodeType !== Node.ELEMENT_NODE || (!a.id && !b.id) || a.id === b.id;
}

function element(have, want) {
  if (have.hasAttribute(KEEP) && want.hasAttribute(KEEP)) return;
  // A time is written by a script: only another time changes it.
  if (have.localName === 'time' && have.dateTime === want.dateTime && have.dataset.time === want.dataset.time) return;
  if (have.dataset?.running && have.dataset.running === want.dataset.running) return;
  for (const { name } of [...have.attributes]) {
    if (!want.hasAttribute(name) && !mine(have, name)) have.removeAttribute(name);
  }
  for (const { name, value } of [...want.attributes]) {
    if (have.getAttribute(name) !== value && !mine(have, name)) have.setAttribute(name, value);
  }
  morph(have, want);
}

/** Attributes that belong to the person who looks at the page. */
function mine(element, name) {
  return (element.localName === 'details' && name === 'open') || (element.localName === 'form' && name === 'data-sent')
    || (element.localName === 'input' && (name === 'value' || name === 'checked'));
}
