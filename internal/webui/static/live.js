// SPDX-License-Identifier: Apache-2.0
// Keeps a page up to date: a stream tells that something has changed, and the page
// is fetched again and put in place. When the daemon cannot be reached, the page
// says so and goes on trying.

import { morph } from './morph.js';
import { showTimes } from './time.js';

const LIVE = { headers: { 'Fairlead-Live': '1', Accept: 'text/html' }, credentials: 'same-origin', cache: 'no-store' };
const LOST_AFTER = 1500; // ms without a connection before it is told
const BACK_FOR = 2500; // ms that it is told that the connection is back
const listeners = new Map(); // by event name

/** Calls f with each event of that name of the page's stream. */
export function on(name, f) {
  if (!listeners.has(name)) listeners.set(name, new Set());
  listeners.get(name).add(f);
  source?.addEventListener(name, f);
}

/** Lets the stream begin after this ID, for pages that have read so far. */
export function after(id) {
  from = id;
}

let source = null;
let from = null;
let lost = 0;
let lostTimer = 0;
let retryTimer = 0;
let retryAfter = 1000;
let over = false;
let fetching = false;
let again = false;
let main = null;

/** Begins, if the page has a stream. */
export function start() {
  main = document.getElementById('main');
  if (!main?.dataset.stream) return;
  // A page is painted before it listens, and a page with a log reads what is there first.
  if (!document.querySelector('[data-log]')) painted(open);
  // Browsers have few connections for each host: a page that nobody sees gives its
  // own back.
  document.addEventListener('visibilitychange', () => {
    if (over) return;
    if (document.hidden) close();
    else if (!source) { open(); refresh(); }
  });
  window.addEventListener('pagehide', close);
  window.addEventListener('pageshow', (event) => { if (event.persisted && !source && !over) { open(); refresh(); } });
}

/** Calls f when the page has been painted; at once where nobody sees it. */
function painted(f) {
  if (document.hidden) f();
  else requestAnimationFrame(() => setTimeout(f));
}

/** Opens the stream. */
export function open() {
  if (source || over || !main?.dataset.stream) return;
  const url = new URL(main.dataset.stream, location.href);
  if (from !== null) url.searchParams.set('after', from);
  source = new EventSource(url);
  source.addEventListener('open', connected);
  source.addEventListener('error', failed);
  source.addEventListener('change', refresh);
  source.addEventListener('over', () => { over = true; close(); });
  source.addEventListener('signed-out', signedOut);
  for (const [name, all] of listeners) for (const f of all) source.addEventListener(name, f);
}

function close() {
  source?.close();
  source = null;
  clearTimeout(retryTimer);
}

function connected() {
  clearTimeout(lostTimer);
  lostTimer = 0;
  retryAfter = 1000;
  if (lost) {
    lost = 0;
    say('back');
    setTimeout(() => { if (!lost && !over) say(null); }, BACK_FOR);
    refresh();
  }
}

function failed() {
  if (!lostTimer) lostTimer = setTimeout(() => { lost = Date.now(); say('lost'); }, LOST_AFTER);
  // The browser tries again by itself unless the answer was no stream.
  if (source?.readyState === EventSource.CLOSED) {
    close();
    retryTimer = setTimeout(open, retryAfter);
    retryAfter = Math.min(retryAfter * 2, 10_000);
    refresh(); // tells a session that has ended from a daemon that is away
  }
}

/** Fetches the page and puts it in place. */
export async function refresh() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const answer = await fetch(location.href, LIVE);
    if (answer.status === 401) {
      signedOut();
    } else if (answer.status !== 503 && answer.headers.get('Content-Type')?.startsWith('text/html')) {
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      const fresh = page.getElementById('main');
      if (fresh) {
        main.dataset.stream = fresh.dataset.stream ?? main.dataset.stream;
        morph(main, fresh);
        showTimes(main);
        document.title = page.title;
        main.dispatchEvent(new CustomEvent('fairlead:fresh', { bubbles: true }));
      }
    }
  } catch {
    // The stream notices, and says so.
  } finally {
    fetching = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

function signedOut() {
  over = true;
  close();
  clearTimeout(lostTimer);
  say('out');
}

/** Shows the state of the connection: lost, back, out or null. */
function say(state) {
  for (const text of document.querySelectorAll('#connection > [data-state]')) text.hidden = text.dataset.state !== state;
  document.documentElement.dataset.connection = state ?? 'live';
}
