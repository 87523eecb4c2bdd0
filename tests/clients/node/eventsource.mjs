// node eventsource.mjs BASE PROMPT: read BASE/events until the EventSource gives up, which it does
// when the server answers its reconnection with 204.
import { EventSource } from 'eventsource';

const TYPES = ['run-started', 'step-started', 'part-started', 'part-delta', 'part-ended', 'item-added',
  'usage-reported', 'step-ended', 'run-finished', 'run-failed', 'run-aborted', 'message'];

const [base, prompt] = process.argv.slice(2);
const out = { events: [], opened: 0, errors: [] };
const awake = setInterval(() => {}, 1000); // its reconnection alone does not keep Node running
const source = new EventSource(`${base}/events?prompt=${encodeURIComponent(prompt)}`);
for (const type of TYPES) {
  source.addEventListener(type, ({ data, lastEventId }) =>
    out.events.push({ type, data: JSON.parse(data), id: lastEventId }));
}
source.addEventListener('open', () => out.opened++);
source.addEventListener('error', ({ code, message }) => {
  out.errors.push({ code, message });
  if (source.readyState === EventSource.CLOSED) {
    clearInterval(awake);
    console.log(JSON.stringify(out));
  }
});
