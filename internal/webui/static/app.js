// SPDX-License-Identifier: Apache-2.0
// The entry of every page. Everything here improves on pages that work without it.

import { showTimes } from './time.js';
import { start } from './live.js';
import { enhanceDialogs } from './dialog.js';

showTimes(document);
setInterval(() => showTimes(document), 30_000);
start();
enhanceDialogs();

// An open menu closes by Escape and by a click elsewhere.
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  for (const menu of document.querySelectorAll('details.menu[open]')) {
    menu.open = false;
    menu.querySelector('summary').focus();
  }
});
document.addEventListener('click', (event) => {
  for (const menu of document.querySelectorAll('details.menu[open]')) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// A form is sent once.
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== 'post') return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = 'true';
  event.submitter?.setAttribute('aria-busy', 'true');
});
window.addEventListener('pageshow', () => {
  for (const form of document.querySelectorAll('form[data-sent]')) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll('[aria-busy]')) button.removeAttribute('aria-busy');
  }
});

if (document.querySelector('[data-log]')) {
  import('./log.js').then((log) => log.start());
}
