// SPDX-License-Identifier: Apache-2.0
// Pages that ask before something is done become dialogs: a form or a link with
// data-dialog opens the page it leads to in a <dialog>. Without scripts it is a page.

import { morph } from './morph.js';
import { showTimes } from './time.js';

const HEADERS = { Accept: 'text/html' };
const AGAIN = 2000; // ms until a stream that was refused is opened again

/** Begins to listen. */
export function enhanceDialogs() {
  document.addEventListener('submit', (event) => {
    const form = event.target.closest('form[data-dialog]');
    if (!form || event.defaultPrevented) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    const get = form.method === 'get';
    const url = new URL(event.submitter?.getAttribute('formaction') ?? form.getAttribute('action'), location.href);
    if (get) url.search = body;
    show(url, get ? {} : { method: 'POST', body }, event.submitter);
  });
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-dialog]');
    if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(new URL(link.href), {}, link);
  });
}

async function show(url, options, opener) {
  opener?.setAttribute('aria-busy', 'true');
  let page;
  let at;
  try {
    const answer = await fetch(url, { ...options, headers: HEADERS, credentials: 'same-origin' });
    at = answer.url;
    page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  } catch {
    // A page is gone to as without scripts, which shows what is wrong; a form that did
    // not arrive is not to be sent again without being asked.
    if (options.method) present(unsent(), opener);
    else location.assign(url);
    return;
  } finally {
    opener?.removeAttribute('aria-busy');
  }
  const content = page.getElementById('main')?.querySelector('[data-dialog-content]');
  if (!content) {
    location.assign(at);
    return;
  }
  const body = document.createElement('div');
  body.className = 'dialog-body';
  morph(body, content);
  showTimes(body);
  const source = page.getElementById('main').dataset.stream;
  present(body, opener, source ? follow(source, at, body) : () => {});
}

/** Keeps a dialog up to date by a stream. Returns what ends that. */
function follow(source, at, body) {
  let stream = null;
  let timer = 0;
  let over = false;
  let failed = false;
  const fresh = async () => {
    const answer = await fetch(at, { headers: { ...HEADERS, 'Fairlead-Live': '1' }, credentials: 'same-origin' });
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('[data-dialog-content]');
    if (next) { morph(body, next); showTimes(body); name(body); }
  };
  const end = () => { over = true; clearTimeout(timer); stream?.close(); };
  const listen = () => {
    stream = new EventSource(source);
    stream.addEventListener('open', () => { if (failed) fresh().catch(() => {}); failed = false; });
    stream.addEventListener('change', () => fresh().catch(() => {}));
    stream.addEventListener('over', end);
    stream.addEventListener('error', () => {
      failed = true;
      // By itself it comes back from a connection that broke, and not from a refusal,
      // as of a daemon that starts.
      if (stream.readyState === EventSource.CLOSED && !over) timer = setTimeout(listen, AGAIN);
    });
  };
  listen();
  return end;
}

/** What is shown where a form did not arrive. */
function unsent() {
  const words = document.getElementById('words').dataset;
  const body = document.createElement('div');
  body.className = 'dialog-body';
  const heading = document.createElement('h1');
  heading.textContent = words.unsent;
  const text = document.createElement('p');
  text.setAttribute('role', 'alert');
  text.textContent = words.unsentText;
  const close = document.createElement('button');
  close.type = 'button';
  close.className = 'button';
  close.dataset.dialogClose = '';
  close.textContent = words.close;
  body.append(heading, text, close);
  return body;
}

/** Names the dialog after its heading. */
function name(body) {
  const heading = body.querySelector('h1');
  if (heading) body.parentElement.setAttribute('aria-label', heading.textContent);
}

/** Shows a dialog; end is called when it is closed. */
function present(body, opener, end = () => {}) {
  const dialog = document.createElement('dialog');
  dialog.append(body);
  name(body);
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog || event.target.closest('[data-dialog-close]')) {
      event.preventDefault();
      dialog.close();
    }
  });
  dialog.addEventListener('close', () => {
    end();
    dialog.remove();
    opener?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}
