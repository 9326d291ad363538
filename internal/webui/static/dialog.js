// SPDX-License-Identifier: Apache-2.0
// Pages that ask before something is done become dialogs: a form or a link with
// data-dialog opens the page it leads to in a <dialog>. Without scripts it is a page.

import { morph } from './morph.js';
import { showTimes } from './time.js';

const HEADERS = { Accept: 'text/html' };

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
    // As without scripts, which shows what is wrong.
    if (!options.method) location.assign(url);
    return;
  } finally {
    opener?.removeAttribute('aria-busy');
  }
  const content = page.getElementById('main')?.querySelector('[data-dialog-content]');
  if (!content) {
    location.assign(at);
    return;
  }
  const dialog = document.createElement('dialog');
  const body = document.createElement('div');
  body.className = 'dialog-body';
  dialog.append(body);
  morph(body, content);
  showTimes(body);
  const heading = body.querySelector('h1');
  if (heading) {
    heading.id ||= 'dialog-title';
    dialog.setAttribute('aria-labelledby', heading.id);
  }
  let stream = null;
  const source = page.getElementById('main').dataset.stream;
  if (source) {
    stream = new EventSource(source);
    const fresh = async () => {
      const answer = await fetch(at, { headers: { ...HEADERS, 'Fairlead-Live': '1' }, credentials: 'same-origin' });
      const next = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('[data-dialog-content]');
      if (next) { morph(body, next); showTimes(body); }
    };
    stream.addEventListener('change', () => fresh().catch(() => {}));
    stream.addEventListener('over', () => stream.close());
  }
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog || event.target.closest('[data-dialog-close]')) {
      event.preventDefault();
      dialog.close();
    }
  });
  dialog.addEventListener('close', () => {
    stream?.close();
    dialog.remove();
    opener?.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}
