// SPDX-License-Identifier: Apache-2.0
// Colours of a terminal, as classes. Everything else that drives a terminal is left
// out.

const ESCAPES = /\u001b(?:\[([0-9;:]*)([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f]/g;

/** A line without what drives a terminal. */
export function plain(line) {
  return line.includes('\u001b') ? line.replace(ESCAPES, '') : line;
}

/** The pieces of a line: their text, and classes or ''. */
export function parse(line) {
  if (!line.includes('\u001b')) return [{ text: line.replace(CONTROLS, ''), classes: '' }];
  const pieces = [];
  const state = { colour: null, styles: new Set() };
  let at = 0;
  const push = (text) => {
    const clean = text.replace(CONTROLS, '');
    if (clean) pieces.push({ text: clean, classes: classesOf(state) });
  };
  for (const match of line.matchAll(ESCAPES)) {
    push(line.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] === 'm') apply(state, match[1] ?? '');
  }
  push(line.slice(at));
  return pieces;
}

function classesOf({ colour, styles }) {
  const classes = [...styles].map((n) => `a${n}`);
  if (colour !== null) classes.push(`f${colour}`);
  return classes.join(' ');
}

function apply(state, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) { state.colour = null; state.styles.clear(); }
    else if (code >= 1 && code <= 4) state.styles.add(code);
    else if (code === 22) { state.styles.delete(1); state.styles.delete(2); }
    else if (code === 23 || code === 24) state.styles.delete(code - 20);
    else if (code >= 30 && code <= 37) state.colour = code - 30;
    else if (code >= 90 && code <= 97) state.colour = code - 82;
    else if (code === 39) state.colour = null;
    else if (code === 38 || code === 48) {
      // One of 256 colours, or a colour of its own: the first sixteen are known.
      const palette = codes[i + 1] === 5;
      if (code === 38) state.colour = palette && codes[i + 2] < 16 ? codes[i + 2] : null;
      i += palette ? 2 : 4;
    }
  }
}
