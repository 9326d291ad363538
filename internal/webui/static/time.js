// SPDX-License-Identifier: Apache-2.0
// Times in the viewer's zone and language. Without scripts they stay in UTC.

const language = document.documentElement.lang || 'en';
const instants = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' });
const exact = new Intl.DateTimeFormat(language, { dateStyle: 'full', timeStyle: 'long' });
// What the browser writes of a number and a Chinese word has no space, unlike all else here.
const spaced = (text) => text.replace(/(\d)(?=\p{Script=Han})/u, '$1 ');
const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto' });

const units = [['year', 31_536_000], ['month', 2_592_000], ['day', 86_400], ['hour', 3600], ['minute', 60], ['second', 1]];

/** How long before or after now a time is, in words. */
export function ago(date, now = Date.now()) {
  const seconds = Math.round((date.getTime() - now) / 1000);
  for (const [unit, length] of units) {
    if (Math.abs(seconds) >= length || unit === 'second') {
      // Seconds would have to count.
      if (unit === 'second') return document.getElementById('words')?.dataset.now ?? relative.format(0, 'second');
      return spaced(relative.format(Math.trunc(seconds / length), unit));
    }
  }
  return '';
}

/** A length of time in seconds, as the server writes it: see data-running. */
function lengthOf(element, seconds) {
  const words = document.getElementById('words')?.dataset ?? {};
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return (words.seconds ?? '{s} s').replace('{s}', s);
  return (words.minutes ?? '{m} min {s} s').replace('{m}', Math.floor(s / 60)).replace('{s}', s % 60);
}

/** Writes all times below root anew. */
export function showTimes(root) {
  for (const element of root.querySelectorAll('time[data-time]')) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    const text = element.dataset.time === 'ago' ? ago(date) : instants.format(date);
    if (element.textContent !== text) element.textContent = text;
    const title = exact.format(date);
    if (element.title !== title) element.title = title;
  }
  for (const element of root.querySelectorAll('[data-running]')) {
    const since = new Date(element.dataset.running).getTime();
    if (!Number.isNaN(since)) element.textContent = lengthOf(element, (Date.now() - since) / 1000);
  }
}
