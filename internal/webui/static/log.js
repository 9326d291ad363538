// SPDX-License-Identifier: Apache-2.0
// A log of any length: only the lines that are in view are elements. What is there is
// fetched at once, what follows comes by the page's stream, from the byte at which
// the first part ended, so that nothing is lost or comes twice.

import { on, open, after } from './live.js';
import { parse, plain } from './ansi.js';

let LINE = 20; // px; app.css says it
const MORE = 20; // lines above and below the view
const MAX_LINES = 400_000; // that are kept
const MAX_HEIGHT = 8_000_000; // px; browsers cannot scroll elements much taller

/** Shows the log of the page. */
export async function start() {
  const root = document.querySelector('[data-log]');
  const view = new LogView(root);
  if ('logContainer' in root.dataset) {
    follow(root, view);
    return;
  }
  on('line', (event) => {
    view.add(event.data, Number(event.lastEventId));
  });
  const size = await view.read(root.dataset.log);
  if (size !== null) after(size); // otherwise all of it comes by the stream
  view.settle();
  open();
}

/** Shows what a container writes: all of it comes by the stream, from the place of the last line. */
function follow(root, view) {
  let container = '';
  let ended = false;
  const time = new Intl.DateTimeFormat(document.documentElement.lang, {
    hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23',
  });
  on('container', (event) => {
    const from = JSON.parse(event.data);
    const source = document.querySelector('[data-log-source]');
    const named = `${from.name}${source.dataset.open}${from.id}${source.dataset.close}`;
    source.textContent = named;
    if (container && container !== from.id) view.append(`— ${named} —`);
    if (container !== from.id || from.state === 'running') ended = false;
    container = from.id;
    view.state = 'read';
    view.settle();
  });
  on('line', (event) => {
    const line = JSON.parse(event.data);
    after(event.lastEventId);
    ended = false;
    view.append(`${time.format(new Date(line.time))}  ${line.text}`);
  });
  on('end', () => {
    if (!ended) view.append(`— ${root.dataset.ended} —`);
    ended = true;
  });
  open();
}

class LogView {
  lines = [];
  bytes = 0; // of the log up to here
  hits = [];
  hit = -1;
  query = '';
  drawn = new Map(); // elements by line
  state = 'loading'; // until it is known what is there: read, or failed
  due = false;

  constructor(root) {
    this.root = root;
    const find = (name) => root.querySelector(`[data-log-${name}]`);
    this.view = find('view');
    this.space = find('space');
    this.search = find('search');
    this.count = find('count');
    this.total = find('total');
    this.follow = find('follow');
    this.instead = { loading: find('loading'), failed: find('failed'), read: find('empty') };
    root.querySelector('.logbar').hidden = false;
    this.view.addEventListener('scroll', () => this.scrolled(), { passive: true });
    new ResizeObserver(() => {
      const line = parseFloat(getComputedStyle(this.view).lineHeight) || LINE;
      if (line === LINE) this.draw();
      else {
        LINE = line;
        this.settle();
      }
    }).observe(this.view);
    this.search.addEventListener('input', () => this.find(this.search.value));
    this.search.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      this.go(event.shiftKey ? -1 : 1);
    });
    find('next').addEventListener('click', () => this.go(1));
    find('prev').addEventListener('click', () => this.go(-1));
    this.follow.addEventListener('change', () => { if (this.follow.checked) this.toEnd(); });
    this.settle();
  }

  /** Reads what is there, and returns how many bytes of whole lines that is. */
  async read(url) {
    try {
      const answer = await fetch(url, { credentials: 'same-origin', cache: 'no-store' });
      this.state = answer.ok ? 'read' : 'failed';
      if (!answer.ok) return null;
      const data = new Uint8Array(await answer.arrayBuffer());
      const end = data.lastIndexOf(10) + 1;
      const text = new TextDecoder().decode(data.subarray(0, end));
      if (end > 0) for (const line of text.slice(0, -1).split('\n')) this.lines.push(line.replace(/\r$/, ''));
      this.bytes = end;
      return end;
    } catch {
      return null; // the page says that there is no connection
    }
  }

  /** Adds a line that ends at this byte of the log. */
  add(text, offset) {
    if (offset <= this.bytes) return; // it is there already
    this.bytes = offset;
    this.append(text);
  }

  /** Adds a line. */
  append(text) {
    this.lines.push(text);
    if (this.lines.length > MAX_LINES) this.trim();
    else if (this.query && plain(text).toLowerCase().includes(this.query)) this.hits.push(this.lines.length - 1);
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => { this.due = false; this.settle(); });
  }

  /** Forgets the oldest lines of a page that has been open for long. */
  trim() {
    this.lines.splice(0, MAX_LINES / 4);
    for (const element of this.drawn.values()) element.remove();
    this.drawn.clear();
    this.hits = [];
    this.hit = -1;
    if (this.query) this.lines.forEach((line, n) => { if (plain(line).toLowerCase().includes(this.query)) this.hits.push(n); });
  }

  /** Shows what has been added. */
  settle() {
    for (const [state, text] of Object.entries(this.instead)) text.hidden = this.lines.length > 0 || state !== this.state;
    this.view.hidden = this.lines.length === 0;
    this.total.textContent = this.total.dataset.text.replace('{n}', this.lines.length.toLocaleString(document.documentElement.lang));
    const height = Math.min(this.lines.length * LINE, MAX_HEIGHT);
    this.space.style.height = `${height}px`;
    this.told();
    if (this.follow.checked) this.toEnd();
    else this.draw();
  }

  toEnd() {
    this.own = true;
    this.view.scrollTop = this.view.scrollHeight;
    this.draw();
  }

  scrolled() {
    // To scroll up is to stop following.
    const atEnd = this.view.scrollTop + this.view.clientHeight >= this.view.scrollHeight - 2 * LINE;
    if (!this.own && this.follow.checked && !atEnd) this.follow.checked = false;
    this.own = false;
    this.draw();
  }

  /** The line at the top of the view: beyond MAX_HEIGHT a pixel is more than one. */
  top() {
    const all = this.lines.length * LINE;
    if (all <= MAX_HEIGHT) return Math.floor(this.view.scrollTop / LINE);
    const scroll = this.view.scrollTop / Math.max(1, MAX_HEIGHT - this.view.clientHeight);
    return Math.floor(scroll * (this.lines.length - this.view.clientHeight / LINE));
  }

  draw() {
    const first = this.top();
    const shown = Math.ceil(this.view.clientHeight / LINE) + 1;
    const from = Math.max(0, first - MORE);
    const to = Math.min(this.lines.length, first + shown + MORE);
    // Where the first line in view stands.
    const base = this.lines.length * LINE <= MAX_HEIGHT ? 0 : this.view.scrollTop - first * LINE;
    for (const [n, element] of this.drawn) {
      if (n < from || n >= to) {
        element.remove();
        this.drawn.delete(n);
      }
    }
    for (let n = from; n < to; n++) {
      let element = this.drawn.get(n);
      if (!element) {
        element = document.createElement('div');
        element.className = 'logline';
        element.dataset.n = n + 1;
        this.fill(element, this.lines[n]);
        this.space.append(element);
        this.drawn.set(n, element);
      }
      element.style.top = `${base + n * LINE}px`;
      element.classList.toggle('now', n === this.hits[this.hit]);
    }
  }

  /** Puts a line into an element, as text. */
  fill(element, line) {
    element.textContent = '';
    // There is no room on a phone for all of a time.
    const [all, date, , rest] = /^(\d{4}-\d\d-\d\dT)(\d\d:\d\d:\d\d)(\.\d+Z)/.exec(line) ?? [''];
    if (all) {
      this.stamp(element, date);
      this.mark(element, all.slice(date.length, -rest.length));
      this.stamp(element, rest);
    }
    for (const { text, classes } of parse(line.slice(all.length))) {
      const target = classes ? document.createElement('span') : element;
      if (classes) {
        target.className = classes;
        element.append(target);
      }
      this.mark(target, text);
    }
  }

  /** Appends a part of a time that can be done without. */
  stamp(element, text) {
    const span = document.createElement('span');
    span.className = 'stamp';
    this.mark(span, text);
    element.append(span);
  }

  /** Appends text, with what is searched for marked. */
  mark(target, text) {
    if (!this.query) {
      target.append(text);
      return;
    }
    const lower = text.toLowerCase();
    let at = 0;
    for (let i = lower.indexOf(this.query); i >= 0; i = lower.indexOf(this.query, at)) {
      const mark = document.createElement('mark');
      mark.textContent = text.slice(i, i + this.query.length);
      target.append(text.slice(at, i), mark);
      at = i + this.query.length;
    }
    target.append(text.slice(at));
  }

  find(query) {
    this.query = query.toLowerCase();
    this.hits = [];
    if (this.query) {
      for (let n = 0; n < this.lines.length; n++) {
        if (plain(this.lines[n]).toLowerCase().includes(this.query)) this.hits.push(n);
      }
    }
    this.hit = -1;
    for (const element of this.drawn.values()) element.remove();
    this.drawn.clear();
    if (this.hits.length) this.go(1);
    else { this.told(); this.draw(); }
  }

  /** Goes to the next place that was found, or to the one before. */
  go(step) {
    if (!this.hits.length) return;
    this.hit = (this.hit + step + this.hits.length) % this.hits.length;
    this.follow.checked = false;
    const n = this.hits[this.hit];
    const all = this.lines.length * LINE;
    const middle = Math.max(0, n * LINE - this.view.clientHeight / 2);
    this.view.scrollTop = all <= MAX_HEIGHT ? middle
      : (middle / Math.max(1, all - this.view.clientHeight)) * (MAX_HEIGHT - this.view.clientHeight);
    this.told();
    this.draw();
  }

  told() {
    const { none, some } = this.count.dataset;
    this.count.textContent = !this.query ? '' : this.hits.length
      ? some.replace('{n}', this.hit + 1).replace('{m}', this.hits.length) : none;
  }
}
