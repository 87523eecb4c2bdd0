// node stored_responses.mjs BASE: what the official client makes of stored responses.
import OpenAI from 'openai';

const [baseURL] = process.argv.slice(2);
const { responses } = new OpenAI({ baseURL, apiKey: '-', maxRetries: 0, timeout: 10_000 });
const model = 'm';
const out = {};

async function numbers(stream) {
  const found = [];
  for await (const event of stream) found.push(event.sequence_number);
  return found;
}

const first = await responses.create({ model, input: 'One' });
const second = await responses.create({ model, input: 'Two', previous_response_id: first.id });
out.second = second.output_text;
const again = await responses.retrieve(second.id);
out.retrieved = again.output_text === second.output_text && again.status === 'completed';

out.input = [];
for await (const item of responses.inputItems.list(second.id, { order: 'asc', limit: 1 })) {
  out.input.push(item.content[0].text);
}

out.numbers = await numbers(await responses.retrieve(second.id, { stream: true }));
const behind = (starting_after) =>
  responses.retrieve(second.id, { stream: true, starting_after });
out.rest = await numbers(await behind(4));
out.none = await numbers(await behind(out.numbers.at(-1)));

const halting = await responses.create({ model, input: 'hang', background: true });
out.queued = halting.status;
out.cancelled = (await responses.cancel(halting.id)).status;
await responses.delete(halting.id);
await responses.retrieve(halting.id).catch(({ status }) => (out.gone = status));
await responses
  .create({ model, input: 'Hi', previous_response_id: halting.id })
  .catch(({ code }) => (out.previous = code));

console.log(JSON.stringify(out));
