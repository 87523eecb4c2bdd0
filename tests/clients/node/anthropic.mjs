// node anthropic.mjs BASE MODE PROMPT: ask the official client for PROMPT, and print what it makes of
// the answer. MODE is "raw" (the events themselves), "helper" (the client's own accumulator), "whole"
// (no stream), or "tools" (the runner, with a tool `add`).
import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';

const [baseURL, mode, prompt] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey: '-', maxRetries: 0, timeout: 10_000 });
const ask = { model: 'm', max_tokens: 100, messages: [{ role: 'user', content: prompt }] };
const numbers = { type: 'object', properties: { x: { type: 'number' }, y: { type: 'number' } } };
const add = betaTool({
  name: 'add',
  description: 'Add.',
  inputSchema: numbers,
  run: ({ x, y }) => String(x + y),
});
const out = { events: [], answer: null };

const asks = {
  raw: async () => {
    const stream = await client.messages.create({ ...ask, stream: true });
    for await (const event of stream) out.events.push(event);
  },
  helper: async () => {
    out.answer = await client.messages.stream(ask).finalMessage();
  },
  whole: async () => {
    out.answer = await client.messages.create(ask);
  },
  tools: async () => {
    out.answer = await client.beta.messages.toolRunner({ ...ask, tools: [add] });
  },
};

try {
  await asks[mode]();
} catch (error) {
  const { status = null, type = null } = error;
  out.error = { name: error.constructor.name, message: error.message, status, type };
}
console.log(JSON.stringify(out));
